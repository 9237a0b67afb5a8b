/** Names of parameters whose values let somebody in. */
const SECRET_NAME =
  /token|secret|passw|passphrase|signature|credential|bearer|jwt|(api|access|auth|account|shared)[-_]?key|^(key|sig|code|auth|authorization|pwd|pass)$/i;
/** Letters and digits mixed, beyond a word with its number such as `production2026`; or longer than words are. */
const MIXED_RUN = 12;
const LONG_RUN = 24;
const WORD_WITH_NUMBER = /^[a-z]+\d{1,4}$/i;
const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/i;

const isRandomRun = (run: string): boolean =>
  run.length >= LONG_RUN ||
  (run.length >= MIXED_RUN && /\d/.test(run) && /[a-z]/i.test(run) && !WORD_WITH_NUMBER.test(run));

/** Whether a part of a URL looks as if a machine had made it up, as tokens, keys and the like are. */
const looksRandom = (part: string): boolean => UUID.test(part) || part.split(/[^A-Za-z0-9]+/).some(isRandomRun);

const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

/** A parameter's value, if it is a secret by its name or by its looks. */
const secretValue = (parameter: string): readonly string[] => {
  const at = parameter.indexOf('=');
  const [name, value] = at === -1 ? ['', parameter] : [parameter.slice(0, at), parameter.slice(at + 1)];
  return SECRET_NAME.test(decoded(name)) || looksRandom(decoded(value)) ? [value] : [];
};

/**
 * What looks like a secret in the URLs of http and https that are in a text: user and password, values of parameters by their
 * names or their looks, and parts of paths by their looks, as the URL spells them. Goes by the text alone, since one with its
 * references to the environment taken out need not be a URL any more.
 */
export const urlSecrets = (text: string): readonly string[] =>
  [...text.matchAll(/https?:\/\/(?:([^/?#@\s]*)@)?(\S*)/gi)].flatMap(([, userinfo = '', rest = '']) => {
    const [place = '', ...parameters] = rest.split(/[?#&]/);
    const segments = place.split('/').slice(1);
    const found = [
      userinfo,
      ...parameters.flatMap(secretValue),
      ...segments.filter((one) => looksRandom(decoded(one))),
    ];
    return found.filter((part) => part !== '');
  });
