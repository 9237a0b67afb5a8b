import { type ErrorKind, messageOf, SwitchbackError } from '../../domain/errors.ts';

/** What an answer of AWS means to whoever asked. */
export interface Meaning {
  readonly kind: Extract<ErrorKind, 'unreachable' | 'unknown' | 'refused'>;
  readonly remedy: string;
}

/** What one service, or what asks it, says in words of its own. */
export interface AwsService {
  /** Meanings of its errors by name, over those that are known of all. */
  readonly meanings?: ReadonlyMap<string, Meaning>;
  /** Where the actions that it needs are listed: `docs/repointing.md lists for this router`. */
  readonly rights: string;
  /** What of the plan names its region: `the router's \`region\``. */
  readonly region: string;
}

/** One request: what is asked for, as messages say it, and whether it changes anything. */
export interface Request {
  readonly what: string;
  readonly writes?: boolean;
  /** Of a router where it is left out. */
  readonly service?: AwsService;
}

const ROUTER: AwsService = {
  rights: 'docs/repointing.md lists for this router',
  region: "the router's `region`",
};

const THROTTLED: Meaning = {
  kind: 'unreachable',
  remedy: 'it is asked again; when it stays so, see what else calls this API of the account',
};
/** Its remedy is filled in with where the actions are listed. */
const DENIED: Meaning = { kind: 'refused', remedy: '' };
const ABSENT: Meaning = {
  kind: 'refused',
  remedy: 'correct its name in the plan, the region, or the account whose credentials are used',
};
const KEY: Meaning = {
  kind: 'refused',
  remedy: 'give our credentials kms:Decrypt and kms:GenerateDataKey on its key, and see that the key is enabled',
};
const STATE: Meaning = { kind: 'refused', remedy: 'see what it looks like now, and what AWS says of it above' };
const NO_CREDENTIALS: Meaning = {
  kind: 'unreachable',
  remedy:
    'set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them; of a session that is over: aws sso login',
};
const NO_ANSWER: Meaning = { kind: 'unreachable', remedy: 'check that the API answers from this machine' };
const ANSWER_LOST: Meaning = { kind: 'unknown', remedy: 'it is looked at, and asked again where it has not happened' };

/** The errors of Route 53, Secrets Manager and Systems Manager by name, and those that all of AWS shares. */
const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ['Throttling', THROTTLED],
  ['ThrottlingException', THROTTLED],
  ['ThrottledException', THROTTLED],
  ['TooManyRequestsException', THROTTLED],
  ['RequestLimitExceeded', THROTTLED],
  ['PriorRequestNotComplete', THROTTLED],
  ['TooManyUpdates', THROTTLED],
  ['AccessDenied', DENIED],
  ['AccessDeniedException', DENIED],
  ['ExpiredToken', DENIED],
  ['ExpiredTokenException', DENIED],
  ['IncompleteSignature', DENIED],
  ['InvalidAccessKeyId', DENIED],
  ['InvalidClientTokenId', DENIED],
  ['InvalidSignatureException', DENIED],
  ['MissingAuthenticationToken', DENIED],
  ['MissingAuthenticationTokenException', DENIED],
  ['NotAuthorized', DENIED],
  ['OptInRequired', DENIED],
  ['SignatureDoesNotMatch', DENIED],
  ['UnrecognizedClientException', DENIED],
  ['NoSuchHostedZone', ABSENT],
  ['ParameterNotFound', ABSENT],
  ['ParameterVersionNotFound', ABSENT],
  ['ResourceNotFoundException', ABSENT],
  ['DecryptionFailure', KEY],
  ['EncryptionFailure', KEY],
  ['InvalidKeyId', KEY],
  ['InvalidChangeBatch', STATE],
  ['InvalidParameterException', STATE],
  ['InvalidRequestException', STATE],
  ['ParameterMaxVersionLimitExceeded', STATE],
  ['ResourceExistsException', STATE],
  ['CredentialsProviderError', NO_CREDENTIALS],
  ['TokenProviderError', NO_CREDENTIALS],
]);

/** Nothing was sent, by the attempt that they are of: an earlier one of the SDK's may have been. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** The parts of an error of the SDK that are looked at. */
interface ServiceError {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number };
  /** Of Route 53's own form of a refused change, which the SDK takes for an unknown error. */
  readonly Messages?: { readonly Message?: unknown };
}

const partsOf = (error: unknown): ServiceError => (typeof error === 'object' && error !== null ? error : {});

/** The name of an error, and what it says. */
const readingOf = (error: unknown): { readonly name: string; readonly said: string } => {
  const { name, Messages } = partsOf(error);
  if (Messages === undefined) return { name: String(name), said: messageOf(error) };
  return { name: 'InvalidChangeBatch', said: [Messages.Message ?? []].flat().join('; ') };
};

/** Whether an error of ours, or of the SDK, is AWS's answer of that name. */
export const isAnswer = (error: unknown, name: string): boolean =>
  readingOf(error instanceof SwitchbackError ? error.cause : error).name === name;

/** Whether there was nobody to ask as: none were found, or a session of SSO is over. Asking again finds no others. */
export const lacksCredentials = (error: unknown): boolean =>
  isAnswer(error, 'CredentialsProviderError') || isAnswer(error, 'TokenProviderError');

const meaningOf = (error: unknown, { writes = false, service = ROUTER }: Request): Meaning => {
  const { code, $metadata } = partsOf(error);
  const { name } = readingOf(error);
  const known = service.meanings?.get(name) ?? MEANINGS.get(name);
  if (known === DENIED) {
    return {
      ...DENIED,
      remedy: `give our credentials the actions that ${service.rights}, or name others: AWS_PROFILE`,
    };
  }
  if (known !== undefined) return known;
  if (messageOf(error).includes('Region is missing')) {
    return { kind: 'refused', remedy: `write ${service.region}, or set AWS_REGION` };
  }
  const status = $metadata?.httpStatusCode;
  if (status !== undefined && status >= 400 && status < 500) return status === 429 ? THROTTLED : STATE;
  const isUnsent = NOT_SENT.has(String(code)) && ($metadata?.attempts ?? 1) === 1;
  return writes && !isUnsent ? ANSWER_LOST : NO_ANSWER;
};

/**
 * What AWS's answer to a request means, as an error of ours with the answer as its cause. Where the request changes something, a
 * lost answer leaves it open whether that was done.
 */
export const awsError = (request: Request, error: unknown): SwitchbackError => {
  if (error instanceof SwitchbackError) return error;
  const { kind, remedy } = meaningOf(error, request);
  const { name, said } = readingOf(error);
  return new SwitchbackError(kind, `${request.what} failed: ${name}: ${said}`, { remedy, cause: error });
};
