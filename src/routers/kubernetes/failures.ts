import { type ErrorKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { redactText } from '../../platform/redact.ts';
import { RESOURCES, type ResourceName, refText } from './resources.ts';

/** What may be asked of the API server; the words of roles. */
export type Verb = 'get' | 'list' | 'patch';

/** A request, for messages and for what is missing when it is refused. */
export interface Asked {
  readonly verb: Verb;
  readonly of: ResourceName;
  /** Null for a list. */
  readonly name: string | null;
  readonly namespace: string;
  /** A change that the server only says of whether it would make it, so that it cannot be in doubt. */
  readonly isTried?: boolean;
}

/** What an answer of the API server means. */
interface Meaning {
  readonly kind: ErrorKind;
  /** Behind "the API server of … ". */
  readonly fact: (asked: Asked) => string;
  readonly remedy: (asked: Asked) => string;
}

const SAID_MOST = 300;

const subjectOf = ({ of, name, namespace }: Asked): string =>
  name === null ? `${RESOURCES[of].plural} of namespace ${namespace}` : `${refText({ of, name })} of ${namespace}`;

/** A rule for a Role that allows what was refused. */
export const roleRule = ({ of, name }: Pick<Asked, 'of' | 'name'>, verbs: readonly Verb[]): string => {
  const { group, plural } = RESOURCES[of];
  const names = name === null ? '' : `, resourceNames: ["${name}"]`;
  return `{ apiGroups: ["${group}"], resources: ["${plural}"]${names}, verbs: [${verbs.map((v) => `"${v}"`).join(', ')}] }`;
};

const NOT_TAKEN: Meaning = {
  kind: 'refused',
  fact: (asked) => `does not take the change to ${subjectOf(asked)}`,
  remedy: () => 'see what it says; a change that it takes is what the plan writes as source and target',
};

const LATER: Meaning = {
  kind: 'unreachable',
  fact: (asked) => `cannot ${asked.verb} ${subjectOf(asked)} now`,
  remedy: () => 'it is asked again; when that does not help, see whether the control plane is healthy',
};

/** An answer that does not say whether the change was made. */
const IN_DOUBT: Meaning = {
  kind: 'unknown',
  fact: (asked) => `did not say whether it changed ${subjectOf(asked)}`,
  remedy: () => 'it is looked at, and asked again',
};

/** By HTTP status; what is not here is {@link LATER} below 500, and from there on in doubt when something was to be changed. */
const ANSWERS: Readonly<Record<number, Meaning>> = {
  400: NOT_TAKEN,
  401: {
    kind: 'refused',
    fact: () => 'does not know who we are',
    remedy: () => 'renew the credentials in the kubeconfig, or see that the pod has its service account mounted',
  },
  403: {
    kind: 'refused',
    fact: (asked) => `does not let us ${asked.verb} ${subjectOf(asked)}`,
    remedy: (asked) => `add to a Role of ours in ${asked.namespace}: ${roleRule(asked, [asked.verb])}`,
  },
  404: {
    kind: 'refused',
    fact: (asked) => `has no ${subjectOf(asked)}`,
    remedy: () => 'make it, or correct its name, namespace or context in the plan',
  },
  409: {
    kind: 'busy',
    fact: (asked) => `says that somebody changed ${subjectOf(asked)} in between`,
    remedy: () => 'it is looked at, and asked again',
  },
  410: LATER,
  413: NOT_TAKEN,
  422: NOT_TAKEN,
  429: LATER,
};

/** A request that was not sent. */
export class NeverAsked extends Error {
  readonly code = 'NEVER_ASKED';
}

/** Errors of a connection that was never made, or of what we are to know before, so that nothing was asked. */
const NEVER_ASKED =
  /^(NEVER_ASKED|ENOENT|EACCES|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_INVALID_URL)$/;
/** What is found out before anything is asked. OpenSSL's own (`ERR_SSL_…`) come at any time. */
const NOT_TRUSTED = /^(CERT_|ERR_TLS_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/;

const codesOf = (error: unknown): readonly string[] => {
  if (!(error instanceof Error)) return [];
  const own = 'code' in error && typeof error.code === 'string' ? [error.code] : [];
  const inner = error instanceof AggregateError ? error.errors.flatMap(codesOf) : [];
  return [...own, ...inner, ...codesOf(error.cause)];
};

/** The last cause says most: undici's own is "fetch failed". */
const causeOf = (error: unknown): string =>
  error instanceof Error && error.cause !== undefined ? causeOf(error.cause) : messageOf(error);

/** An HTTP status and what the server says with it; null for an error that is no answer. */
export const answerOf = (error: unknown): { readonly status: number; readonly said: string } | null => {
  // Of the library's ApiException; the DOMException of a request that took too long has a number for its code as well.
  if (!(error instanceof Error) || !('code' in error) || !('body' in error)) return null;
  return typeof error.code === 'number' ? { status: error.code, said: statusText(error.body) } : null;
};

/** `message` of a Status object, which the client gives as text or as an object. */
const statusText = (body: unknown): string => {
  let status = body;
  if (typeof body === 'string') {
    try {
      status = JSON.parse(body);
    } catch {
      return body;
    }
  }
  if (typeof status !== 'object' || status === null || !('message' in status)) return '';
  return typeof status.message === 'string' ? status.message : '';
};

/**
 * What the server says, short and without what is secret: of a Secret nothing, since a refused patch is answered with the
 * whole object.
 */
const shown = ({ of }: Asked, said: string): string => {
  const text = redactText(said).replaceAll(/\s+/g, ' ').trim();
  return of === 'secret' || text === '' ? '' : `: ${text.slice(0, SAID_MOST)}`;
};

const meaningOf = (asked: Asked, error: unknown): Meaning => {
  const mayChange = asked.verb === 'patch' && asked.isTried !== true;
  const answer = answerOf(error);
  if (answer !== null) {
    const known = ANSWERS[answer.status];
    if (known !== undefined) return known;
    return answer.status >= 500 && mayChange ? IN_DOUBT : LATER;
  }
  const codes = codesOf(error);
  const untrusted = codes.find((code) => NOT_TRUSTED.test(code));
  if (untrusted !== undefined) {
    return {
      kind: 'refused',
      fact: () => `is not the one that we trust (${untrusted})`,
      remedy: () => 'name its authority and its address in the kubeconfig: certificate-authority, server',
    };
  }
  return mayChange && !codes.some((code) => NEVER_ASKED.test(code)) ? IN_DOUBT : LATER;
};

/** An error of the client library as ours: a table of answers. `server` is the API server's address. */
export const failureOf = (server: string, asked: Asked, error: unknown): SwitchbackError => {
  if (error instanceof SwitchbackError) return error;
  const { kind, fact, remedy } = meaningOf(asked, error);
  const said = answerOf(error)?.said ?? causeOf(error);
  return new SwitchbackError(kind, `the API server ${server} ${fact(asked)}${shown(asked, said)}`, {
    remedy: remedy(asked),
    cause: error,
  });
};
