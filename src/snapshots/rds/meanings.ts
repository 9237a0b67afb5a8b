import { isKind } from '../../domain/errors.ts';
import { type AwsService, isAnswer, type Meaning } from '../../platform/aws/errors.ts';

const refused = (remedy: string): Meaning => ({ kind: 'refused', remedy });

const THROTTLED: Meaning = {
  kind: 'unreachable',
  remedy:
    'it was asked again for some minutes; see what else calls RDS in this account, and run the command again: it goes on',
};
const EXPIRED = refused('get new credentials and run the command again: what is under way at AWS is found again');
const SNAPSHOT_QUOTA = refused(
  'remove snapshots that nobody needs (switchback snapshot prune PLAN), or ask AWS for a higher quota; then run it again',
);
const PLACE_QUOTA = refused('remove what nobody needs, or ask AWS for a higher quota; then run it again');
const TAKEN = refused('see whose it is: aws rds describe-db-snapshots, aws rds describe-db-instances');
const ABSENT = refused(
  "correct its name in the plan's `snapshots`, the region, or the account whose credentials are used",
);
const STATE = refused('wait until it is available, or mend what keeps it from that, and run the command again');
const KEY = refused(
  'see that its KMS key exists in that region, is enabled, and lets our credentials use it: kms:DescribeKey, kms:CreateGrant',
);
const CAPACITY = refused('wait and run the command again; or restore by hand into another class or availability zone');
const POINT = refused(
  'choose a time that automated backups cover: between EarliestRestorableTime and LatestRestorableTime of the source',
);
const VALUE = refused('see what AWS says of it above');

/** What RDS answers, by the code without its ending, see {@link answers}. */
const BY_CODE: readonly (readonly [Meaning, readonly string[]])[] = [
  [THROTTLED, ['RequestThrottled', 'SlowDown']],
  [EXPIRED, ['ExpiredToken', 'RequestExpired']],
  [SNAPSHOT_QUOTA, ['SnapshotQuotaExceeded', 'DBClusterSnapshotQuotaExceeded', 'SharedSnapshotQuotaExceeded']],
  [PLACE_QUOTA, ['InstanceQuotaExceeded', 'DBClusterQuotaExceeded', 'StorageQuotaExceeded']],
  [TAKEN, ['DBSnapshotAlreadyExists', 'DBClusterSnapshotAlreadyExists']],
  [TAKEN, ['DBInstanceAlreadyExists', 'DBClusterAlreadyExists']],
  [ABSENT, ['DBInstanceNotFound', 'DBClusterNotFound', 'DBSnapshotNotFound', 'DBClusterSnapshotNotFound']],
  [ABSENT, ['DBSubnetGroupNotFound', 'DBParameterGroupNotFound', 'DBClusterParameterGroupNotFound']],
  [ABSENT, ['OptionGroupNotFound', 'InvalidVPCNetworkState', 'InvalidSubnet']],
  [STATE, ['InvalidDBInstanceState', 'InvalidDBClusterState']],
  [STATE, ['InvalidDBSnapshotState', 'InvalidDBClusterSnapshotState']],
  [KEY, ['KMSKeyNotAccessible']],
  [CAPACITY, ['InsufficientDBInstanceCapacity', 'InsufficientDBClusterCapacity', 'InsufficientStorageClusterCapacity']],
  [POINT, ['InvalidRestore', 'PointInTimeRestoreNotEnabled', 'DBInstanceAutomatedBackupNotFound']],
  [VALUE, ['InvalidParameterValue', 'InvalidParameterCombination', 'StorageTypeNotSupported', 'ValidationError']],
];

const ENDINGS = ['', 'Fault', 'Exception'] as const;

const MEANINGS: ReadonlyMap<string, Meaning> = new Map(
  BY_CODE.flatMap(([meaning, codes]) =>
    codes.flatMap((code) => ENDINGS.map((ending) => [`${code}${ending}`, meaning] as const)),
  ),
);

/** RDS as an error tells of it, where one action of it was asked for: `rds:CreateDBSnapshot`. */
export const serviceOf = (action: string): AwsService => ({
  meanings: MEANINGS,
  rights: `docs/snapshots.md lists, here ${action}`,
  region: '`snapshots.region` in the plan',
});

/** Whether an error is RDS's answer of that code: the API's reference and the SDK do not agree on whether it ends in `Fault`. */
export const answers = (error: unknown, code: string): boolean =>
  ENDINGS.some((ending) => isAnswer(error, `${code}${ending}`));

const TOO_MANY = [
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'SlowDown',
] as const;

/** Whether we were told to ask less: nothing was done by that request. */
export const isThrottled = (error: unknown): boolean => TOO_MANY.some((code) => answers(error, code));

/** Whether something is not there. */
export const isAbsent = (error: unknown): boolean =>
  ['DBInstanceNotFound', 'DBClusterNotFound', 'DBSnapshotNotFound', 'DBClusterSnapshotNotFound'].some((code) =>
    answers(error, code),
  );

/** Whether a name is taken: by somebody else, or by ourselves when an earlier answer was lost. */
export const isTaken = (error: unknown): boolean =>
  [
    'DBSnapshotAlreadyExists',
    'DBClusterSnapshotAlreadyExists',
    'DBInstanceAlreadyExists',
    'DBClusterAlreadyExists',
  ].some((code) => answers(error, code));

/** Whether a setting was refused, as against the right to set it. */
export const isRefusedSetting = (error: unknown): boolean =>
  isKind(error, 'refused') &&
  ['InvalidParameterValue', 'InvalidParameterCombination', 'StorageTypeNotSupported', 'DBParameterGroupNotFound'].some(
    (code) => answers(error, code),
  );
