import { redactText } from '../platform/redact.ts';

/** What somebody else's program or server said, for a message: on one line, without control characters and passwords. */
export const said = (output: string): string =>
  redactText(output)
    .replaceAll(/[\p{Cc}\s]+/gu, ' ')
    .trim();
