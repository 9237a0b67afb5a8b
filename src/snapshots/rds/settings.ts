import type {
  CreateDBInstanceMessage,
  DBCluster,
  DBInstance,
  ModifyDBClusterMessage,
  ModifyDBInstanceMessage,
  RestoreDBClusterFromSnapshotMessage,
  RestoreDBInstanceFromDBSnapshotMessage,
} from '@aws-sdk/client-rds';

/** What one setting says; null where there is none, or where AWS has to choose it anew. */
export type Value = string | number | boolean | readonly string[] | Readonly<Record<string, number>> | null;

/** What is set, by the names of the tables below. */
export type Values = Readonly<Record<string, Value>>;

/** One setting of what RDS describes as `D`, and where it stands there. */
export interface Compared<D> {
  readonly name: string;
  readonly of: (described: D) => Value | undefined;
}

/** As what a change of what stands already takes it; one that no change takes can only be compared. */
export interface Changed<D, M> extends Compared<D> {
  readonly change?: keyof M & string;
}

/** As what a restore or a creation takes it. */
export interface Setting<D, R, M> extends Changed<D, M> {
  readonly make?: keyof R & string;
}

/** For PostgreSQL, from here on a gp3 volume takes other figures than the baseline; below it RDS refuses the baseline's too. */
const STRIPED_GIB = 400;

const isStriped = ({ StorageType, AllocatedStorage = 0 }: DBInstance): boolean =>
  StorageType === 'gp3' && AllocatedStorage >= STRIPED_GIB;

/** RDS tells figures of volumes that take none, too. */
const iopsOf = (d: DBInstance): number | null =>
  isStriped(d) || d.StorageType?.startsWith('io') === true ? (d.Iops ?? null) : null;

/** Default option groups are of one version, and RDS chooses them by itself. */
const ownGroup = (name: string | undefined): string | undefined => (name?.startsWith('default:') ? undefined : name);

const groupIds = (groups: DBInstance['VpcSecurityGroups']): readonly string[] =>
  (groups ?? []).flatMap(({ VpcSecurityGroupId }) => VpcSecurityGroupId ?? []).toSorted();

/** Of every instance, alone or in a cluster. */
const observed = [
  {
    name: 'monitoring interval',
    of: (d) => d.MonitoringInterval,
    make: 'MonitoringInterval',
    change: 'MonitoringInterval',
  },
  { name: 'monitoring role', of: (d) => d.MonitoringRoleArn, make: 'MonitoringRoleArn', change: 'MonitoringRoleArn' },
  {
    name: 'performance insights',
    of: (d) => d.PerformanceInsightsEnabled,
    make: 'EnablePerformanceInsights',
    change: 'EnablePerformanceInsights',
  },
  {
    name: 'performance insights key',
    of: (d) => d.PerformanceInsightsKMSKeyId,
    make: 'PerformanceInsightsKMSKeyId',
    change: 'PerformanceInsightsKMSKeyId',
  },
  {
    name: 'performance insights retention',
    of: (d) => d.PerformanceInsightsRetentionPeriod,
    make: 'PerformanceInsightsRetentionPeriod',
    change: 'PerformanceInsightsRetentionPeriod',
  },
] as const satisfies readonly Setting<DBInstance, CreateDBInstanceMessage, ModifyDBInstanceMessage>[];

/** An instance that is restored cannot be observed before it stands. */
const observedLater = observed.map(({ name, of, change }) => ({ name, of, change }));

type InstanceSetting = Setting<DBInstance, RestoreDBInstanceFromDBSnapshotMessage, ModifyDBInstanceMessage>;

/** Of an instance that is no cluster's. Its size is the snapshot's, and its key too. */
export const INSTANCE: readonly InstanceSetting[] = [
  { name: 'engine version', of: (d) => d.EngineVersion },
  { name: 'class', of: (d) => d.DBInstanceClass, make: 'DBInstanceClass', change: 'DBInstanceClass' },
  { name: 'port', of: (d) => d.Endpoint?.Port, make: 'Port' },
  { name: 'storage type', of: (d) => d.StorageType, make: 'StorageType', change: 'StorageType' },
  { name: 'storage in GiB', of: (d) => d.AllocatedStorage },
  { name: 'iops', of: iopsOf, make: 'Iops', change: 'Iops' },
  {
    name: 'storage throughput',
    of: (d) => (isStriped(d) ? d.StorageThroughput : null),
    make: 'StorageThroughput',
    change: 'StorageThroughput',
  },
  {
    name: 'most storage in GiB',
    of: (d) => ((d.MaxAllocatedStorage ?? 0) > (d.AllocatedStorage ?? 0) ? d.MaxAllocatedStorage : null),
    change: 'MaxAllocatedStorage',
  },
  { name: 'KMS key', of: (d) => (d.StorageEncrypted === true ? d.KmsKeyId : null) },
  { name: 'Multi-AZ', of: (d) => d.MultiAZ, make: 'MultiAZ', change: 'MultiAZ' },
  { name: 'subnet group', of: (d) => d.DBSubnetGroup?.DBSubnetGroupName, make: 'DBSubnetGroupName' },
  {
    name: 'security groups',
    of: (d) => groupIds(d.VpcSecurityGroups),
    make: 'VpcSecurityGroupIds',
    change: 'VpcSecurityGroupIds',
  },
  { name: 'public', of: (d) => d.PubliclyAccessible, make: 'PubliclyAccessible', change: 'PubliclyAccessible' },
  { name: 'network type', of: (d) => d.NetworkType, make: 'NetworkType', change: 'NetworkType' },
  {
    name: 'parameter group',
    of: (d) => d.DBParameterGroups?.[0]?.DBParameterGroupName,
    make: 'DBParameterGroupName',
    change: 'DBParameterGroupName',
  },
  {
    name: 'option group',
    of: (d) => ownGroup(d.OptionGroupMemberships?.[0]?.OptionGroupName),
    make: 'OptionGroupName',
    change: 'OptionGroupName',
  },
  {
    name: 'IAM authentication',
    of: (d) => d.IAMDatabaseAuthenticationEnabled,
    make: 'EnableIAMDatabaseAuthentication',
    change: 'EnableIAMDatabaseAuthentication',
  },
  { name: 'certificate authority', of: (d) => d.CACertificateIdentifier, make: 'CACertificateIdentifier' },
  {
    name: 'minor versions by itself',
    of: (d) => d.AutoMinorVersionUpgrade,
    make: 'AutoMinorVersionUpgrade',
    change: 'AutoMinorVersionUpgrade',
  },
  {
    name: 'tags copied to snapshots',
    of: (d) => d.CopyTagsToSnapshot,
    make: 'CopyTagsToSnapshot',
    change: 'CopyTagsToSnapshot',
  },
  {
    name: 'logs exported',
    of: (d) => (d.EnabledCloudwatchLogsExports ?? []).toSorted(),
    make: 'EnableCloudwatchLogsExports',
  },
  { name: 'backups kept, in days', of: (d) => d.BackupRetentionPeriod, change: 'BackupRetentionPeriod' },
  { name: 'backup window', of: (d) => d.PreferredBackupWindow, change: 'PreferredBackupWindow' },
  { name: 'maintenance window', of: (d) => d.PreferredMaintenanceWindow, change: 'PreferredMaintenanceWindow' },
  ...observedLater,
];

type MemberSetting = Setting<DBInstance, CreateDBInstanceMessage, ModifyDBInstanceMessage>;

/** Of an instance of a cluster, which is created anew. */
export const MEMBER: readonly MemberSetting[] = [
  { name: 'class', of: (d) => d.DBInstanceClass, make: 'DBInstanceClass', change: 'DBInstanceClass' },
  { name: 'promotion tier', of: (d) => d.PromotionTier, make: 'PromotionTier', change: 'PromotionTier' },
  { name: 'public', of: (d) => d.PubliclyAccessible, make: 'PubliclyAccessible', change: 'PubliclyAccessible' },
  {
    name: 'parameter group',
    of: (d) => d.DBParameterGroups?.[0]?.DBParameterGroupName,
    make: 'DBParameterGroupName',
    change: 'DBParameterGroupName',
  },
  { name: 'certificate authority', of: (d) => d.CACertificateIdentifier, make: 'CACertificateIdentifier' },
  {
    name: 'minor versions by itself',
    of: (d) => d.AutoMinorVersionUpgrade,
    make: 'AutoMinorVersionUpgrade',
    change: 'AutoMinorVersionUpgrade',
  },
  {
    name: 'maintenance window',
    of: (d) => d.PreferredMaintenanceWindow,
    make: 'PreferredMaintenanceWindow',
    change: 'PreferredMaintenanceWindow',
  },
  ...observed,
];

type ClusterSetting = Setting<DBCluster, RestoreDBClusterFromSnapshotMessage, ModifyDBClusterMessage>;

/** Of a cluster, whose instances have their own. */
export const CLUSTER: readonly ClusterSetting[] = [
  { name: 'engine', of: (d) => d.Engine, make: 'Engine' },
  { name: 'engine version', of: (d) => d.EngineVersion, make: 'EngineVersion' },
  { name: 'engine mode', of: (d) => d.EngineMode, make: 'EngineMode' },
  { name: 'port', of: (d) => d.Port, make: 'Port' },
  { name: 'storage type', of: (d) => d.StorageType, make: 'StorageType', change: 'StorageType' },
  { name: 'KMS key', of: (d) => (d.StorageEncrypted === true ? d.KmsKeyId : null), make: 'KmsKeyId' },
  { name: 'subnet group', of: (d) => d.DBSubnetGroup, make: 'DBSubnetGroupName' },
  {
    name: 'security groups',
    of: (d) => groupIds(d.VpcSecurityGroups),
    make: 'VpcSecurityGroupIds',
    change: 'VpcSecurityGroupIds',
  },
  { name: 'network type', of: (d) => d.NetworkType, make: 'NetworkType', change: 'NetworkType' },
  {
    name: 'parameter group',
    of: (d) => d.DBClusterParameterGroup,
    make: 'DBClusterParameterGroupName',
    change: 'DBClusterParameterGroupName',
  },
  {
    name: 'IAM authentication',
    of: (d) => d.IAMDatabaseAuthenticationEnabled,
    make: 'EnableIAMDatabaseAuthentication',
    change: 'EnableIAMDatabaseAuthentication',
  },
  {
    name: 'capacity',
    of: ({ ServerlessV2ScalingConfiguration: scaling }) =>
      scaling?.MinCapacity === undefined || scaling.MaxCapacity === undefined
        ? null
        : { MinCapacity: scaling.MinCapacity, MaxCapacity: scaling.MaxCapacity },
    make: 'ServerlessV2ScalingConfiguration',
    change: 'ServerlessV2ScalingConfiguration',
  },
  {
    name: 'tags copied to snapshots',
    of: (d) => d.CopyTagsToSnapshot,
    make: 'CopyTagsToSnapshot',
    change: 'CopyTagsToSnapshot',
  },
  {
    name: 'logs exported',
    of: (d) => (d.EnabledCloudwatchLogsExports ?? []).toSorted(),
    make: 'EnableCloudwatchLogsExports',
  },
  { name: 'backups kept, in days', of: (d) => d.BackupRetentionPeriod, change: 'BackupRetentionPeriod' },
  { name: 'backup window', of: (d) => d.PreferredBackupWindow, change: 'PreferredBackupWindow' },
  { name: 'maintenance window', of: (d) => d.PreferredMaintenanceWindow, change: 'PreferredMaintenanceWindow' },
];

/** What stands, by the table. */
export const valuesOf = <D>(settings: readonly Compared<D>[], described: D): Values =>
  Object.fromEntries(settings.map(({ name, of }) => [name, of(described) ?? null]));

const isNothing = (value: Value | undefined): boolean =>
  value === undefined || value === null || (Array.isArray(value) && value.length === 0);

/** Whether two values say the same; none and an empty list do. */
export const isSame = (a: Value | undefined, b: Value | undefined): boolean =>
  (isNothing(a) && isNothing(b)) || JSON.stringify(a) === JSON.stringify(b);

/** What a restore or a creation is asked with. */
export const makingOf = <D, R, M>(settings: readonly Setting<D, R, M>[], values: Values): Partial<R> => {
  const given = settings.flatMap(({ name, make }) =>
    make === undefined || isNothing(values[name]) ? [] : [[make, values[name]] as const],
  );
  // The table says which keys `R` has; their values came from what AWS describes under the same meaning.
  return Object.fromEntries(given) as Partial<R>;
};

/** What a change is asked with, so that what stands comes to be as it should; empty when nothing is to be changed. */
export const changeTo = <D, M>(settings: readonly Changed<D, M>[], values: Values, described: D): Partial<M> => {
  const given = settings.flatMap(({ name, of, change }) =>
    change === undefined || isNothing(values[name]) || isSame(values[name], of(described))
      ? []
      : [[change, values[name]] as const],
  );
  return Object.fromEntries(given) as Partial<M>;
};
