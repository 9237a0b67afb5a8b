/** A password that is only referred to, `${NAME}` without a default, is what a person should see. */
const REFERENCES = /^(\$\{[A-Za-z_][A-Za-z0-9_]*\})+$/;

const hide = (_whole: string, head: string, secret: string): string =>
  head + (REFERENCES.test(secret) ? secret : '***');

/** Text with the passwords of all URLs in it replaced, in their userinfo and in their parameters. */
export const redactText = (text: string): string =>
  text.replace(/(:\/\/[^:@/?#\s]*:)([^@\s]+)(?=@)/g, hide).replace(/([?&](?:ssl)?password=)([^&\s"']+)/gi, hide);
