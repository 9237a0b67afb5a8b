import { expect, test } from 'vitest';
import { mirrorIn } from '../../scripts/services/mirror.ts';

const ONE_LINE = `
# deb http://commented.example/debian bookworm main
deb https://packages.vendor.example/apt stable-tools main
deb-src http://sources.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian bookworm main contrib
`;
const DEB822 = `Types: deb
URIs: https://vendor.example/node
Suites: nodistro
Components: main

Types: deb
# a comment in the middle
URIs:
 http://other.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
`;

test.each([
  ['one-line style, beside a vendor, sources and a comment', [ONE_LINE], 'http://mirror.example/debian'],
  ['deb822 style, with folded fields', [DEB822], 'http://other.example/debian'],
  ['the first of several files', ['', ONE_LINE, DEB822], 'http://mirror.example/debian'],
  ['a stanza that is switched off', [DEB822.replaceAll('Types: deb\n', 'Types: deb\nEnabled: no\n')], undefined],
  ['no sources at all', [], undefined],
])('the mirror of %s', (_, texts, mirror) => {
  expect(mirrorIn(texts)).toBe(mirror);
});
