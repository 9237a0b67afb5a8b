import type { RDSClient } from '@aws-sdk/client-rds';

/** Where a region's KMS answers; an endpoint in the environment goes before it, as for every client of the SDK. */
const addressOf = (region: string): URL =>
  new URL(
    process.env.AWS_ENDPOINT_URL_KMS ??
      process.env.AWS_ENDPOINT_URL ??
      `https://kms.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`,
  );

/** An answer of KMS that is no key, named as the SDK names errors. */
class KmsError extends Error {
  readonly $metadata: { readonly httpStatusCode: number };

  constructor(name: string, message: string, httpStatusCode: number) {
    super(message);
    this.name = name;
    this.$metadata = { httpStatusCode };
  }
}

interface Answer {
  readonly KeyMetadata?: { readonly KeyManager?: string };
  readonly __type?: string;
  readonly message?: string;
  readonly Message?: string;
}

const readAnswer = (text: string): Answer => {
  try {
    return JSON.parse(text) as Answer;
  } catch {
    return {};
  }
};

/**
 * Who manages a KMS key: `AWS` or `CUSTOMER`. RDS names the key of what it encrypts and does not say whether that is its own
 * default one. It is the only question that we have for KMS, so a client of RDS that is asked
 * nothing else signs it, and no further SDK is installed.
 */
export const describeKey = async ({ config }: RDSClient, key: string, signal: AbortSignal): Promise<string> => {
  const region = await config.region();
  const address = addressOf(region);
  const signer = await config.signer({ name: 'sigv4', signingName: 'kms', signingRegion: region, properties: {} });
  const signed = await signer.sign({
    method: 'POST',
    protocol: address.protocol,
    hostname: address.hostname,
    ...(address.port === '' ? {} : { port: Number(address.port) }),
    path: '/',
    query: {},
    headers: {
      host: address.host,
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'TrentService.DescribeKey',
    },
    body: JSON.stringify({ KeyId: key }),
  });
  const response = await fetch(address, {
    method: 'POST',
    headers: signed.headers,
    body: String(signed.body),
    signal,
  });
  const text = await response.text();
  const said = readAnswer(text);
  const manager = said.KeyMetadata?.KeyManager;
  if (manager !== undefined) return manager;
  const name = said.__type?.split('#').at(-1) ?? 'UnknownError';
  throw new KmsError(name, said.message ?? said.Message ?? text.slice(0, 200), response.status);
};
