import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request to RDS, as it came. */
export interface RdsCall {
  readonly action: string;
  readonly region: string;
  readonly parameters: URLSearchParams;
}

/** A request on its way, and what a test may do about it. */
export interface Fault {
  /** All actions where it is left out. */
  readonly action?: string;
  /** How often it happens; for ever where it is left out. */
  times?: number;
  /** Answered instead of asking moto. */
  readonly refuse?: { readonly code: string; readonly status?: number; readonly said?: string };
  /** Moto does it, and the connection breaks instead of the answer. */
  readonly lose?: true;
  /** Changes moto's answer. */
  readonly rewrite?: (xml: string, call: RdsCall) => string;
  /** Done when moto has answered, and before that is passed on. */
  readonly afterwards?: (call: RdsCall) => Promise<void> | void;
}

const XMLNS = 'http://rds.amazonaws.com/doc/2014-10-31/';

const errorXml = (code: string, said: string): string =>
  `<ErrorResponse xmlns="${XMLNS}"><Error><Type>Sender</Type><Code>${code}</Code><Message>${said}</Message></Error><RequestId>r</RequestId></ErrorResponse>`;

/** By the API's reference: what moto does not know of an account. */
const quotaXml = (quotas: Readonly<Record<string, readonly [used: number, max: number]>>): string => {
  const items = Object.entries(quotas)
    .map(
      ([name, [used, max]]) =>
        `<AccountQuota><AccountQuotaName>${name}</AccountQuotaName><Used>${used}</Used><Max>${max}</Max></AccountQuota>`,
    )
    .join('');
  return `<DescribeAccountAttributesResponse xmlns="${XMLNS}"><DescribeAccountAttributesResult><AccountQuotas>${items}</AccountQuotas></DescribeAccountAttributesResult></DescribeAccountAttributesResponse>`;
};

const regionOf = ({ headers }: IncomingMessage): string =>
  /Credential=[^/]+\/\d+\/([^/]+)\//.exec(headers.authorization ?? '')?.[1] ?? 'unknown';

/**
 * Stands between the SDK and moto: it counts what is asked for, and makes the faults that moto cannot make: throttling, errors of
 * the service, a lost answer, a missing right, a snapshot that takes time or sticks, a full disk. What it says for AWS was written
 * by those who wrote the store, from the API's reference, and was never compared with AWS.
 *
 * It also takes back what moto 5.2 does otherwise than the reference has it, see {@link corrections}.
 */
export class RdsProxy {
  readonly #moto: string;
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  readonly calls: RdsCall[] = [];
  readonly faults: Fault[] = [];
  quotas: Readonly<Record<string, readonly [used: number, max: number]>> = {};
  /** KMS keys of which moto does not know that AWS manages them. */
  readonly defaultKeys = new Set<string>();
  /** Instances whose parameter groups wait for a reboot. */
  readonly waitForReboot = new Set<string>();

  constructor(moto: string) {
    this.#moto = moto;
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Forgets what was asked, and makes no more faults. */
  reset(): void {
    this.calls.length = 0;
    this.faults.length = 0;
    this.quotas = {};
  }

  /** How often an action was asked for, of one thing where it is named. */
  count(action: string, name?: string): number {
    return this.calls.filter((call) => call.action === action && (name === undefined || nameIn(call) === name)).length;
  }

  /** The actions that were asked for and are no questions. */
  get writes(): readonly string[] {
    return this.calls.map(({ action }) => action).filter((action) => !action.startsWith('Describe'));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const parameters = new URLSearchParams(body);
    const action = parameters.get('Action');
    if (action === null) return await this.#pass(request, body, response);
    const call = { action, region: regionOf(request), parameters };
    this.calls.push(call);
    const faults = this.#take(call);
    const refused = faults.find(({ refuse }) => refuse !== undefined)?.refuse;
    if (refused !== undefined) {
      const { code, status = 400, said = 'said by the stand-in' } = refused;
      return end(response, { status, text: errorXml(code, said) });
    }
    if (action === 'DescribeAccountAttributes') return end(response, { status: 200, text: quotaXml(this.quotas) });
    const answer = (await this.#isTaken(request, call))
      ? { status: 400, text: errorXml('DBClusterAlreadyExistsFault', 'said by the stand-in') }
      : await this.#ask(request, body);
    if (answer.status === 200) await this.#correct(request, call);
    for (const { afterwards } of faults) await afterwards?.(call);
    if (faults.some(({ lose }) => lose)) return void request.socket.destroy();
    const rewritten = faults.reduce(
      (xml, { rewrite }) => rewrite?.(xml, call) ?? xml,
      this.#withReboots(answer.text, call),
    );
    end(response, { status: answer.status, text: rewritten });
  }

  #take({ action }: RdsCall): readonly Fault[] {
    const meant = this.faults.filter((fault) => (fault.action ?? action) === action && fault.times !== 0);
    for (const fault of meant) if (fault.times !== undefined) fault.times -= 1;
    return meant;
  }

  async #ask({ headers, method = 'POST', url = '/' }: IncomingMessage, body: string) {
    const { host: _, connection: __, 'content-length': ___, ...passed } = headers;
    const answer = await fetch(new URL(url, this.#moto), {
      method,
      headers: passed as Record<string, string>,
      body,
    });
    return { status: answer.status, text: await answer.text(), type: answer.headers.get('content-type') };
  }

  /** What is no question to RDS goes through as it is. */
  async #pass(request: IncomingMessage, body: string, response: ServerResponse): Promise<void> {
    const { status, text, type } = await this.#ask(request, body);
    response.writeHead(status, { 'content-type': type ?? 'application/json' });
    const isDefault = [...this.defaultKeys].some((key) => body.includes(key));
    response.end(isDefault ? text.replace(/"KeyManager": ?"CUSTOMER"/, '"KeyManager": "AWS"') : text);
  }

  /** Moto makes a cluster in the place of one of the same name. */
  async #isTaken(request: IncomingMessage, call: RdsCall): Promise<boolean> {
    if (!call.action.startsWith('RestoreDBCluster')) return false;
    const question = { Action: 'DescribeDBClusters', Version: '2014-10-31', DBClusterIdentifier: nameIn(call) };
    return (await this.#ask(request, new URLSearchParams(question).toString())).status === 200;
  }

  async #correct(request: IncomingMessage, call: RdsCall): Promise<void> {
    const corrected = correction(call);
    if (corrected !== null) await this.#ask(request, corrected.toString());
    if (call.action === 'RebootDBInstance') this.waitForReboot.delete(nameIn(call));
  }

  #withReboots(xml: string, { action }: RdsCall): string {
    if (action !== 'DescribeDBInstances') return xml;
    const isMeant = [...this.waitForReboot].some((name) => xml.includes(`<DBInstanceIdentifier>${name}<`));
    return isMeant ? xml.replaceAll('>in-sync<', '>pending-reboot<') : xml;
  }
}

const end = (response: ServerResponse, { status, text }: { readonly status: number; readonly text: string }): void => {
  response.writeHead(status, { 'content-type': 'text/xml' });
  response.end(text);
};

const NAMES = [
  'TargetDBSnapshotIdentifier',
  'TargetDBClusterSnapshotIdentifier',
  'TargetDBInstanceIdentifier',
  'DBSnapshotIdentifier',
  'DBClusterSnapshotIdentifier',
  'DBInstanceIdentifier',
  'DBClusterIdentifier',
  'ResourceName',
] as const;

/** What a request makes or changes; a restore names the snapshot too. */
export const nameIn = ({ action, parameters }: RdsCall): string => {
  const places = ['DBInstanceIdentifier', 'DBClusterIdentifier'] as const;
  const names = action.startsWith('Restore') ? (['TargetDBInstanceIdentifier', ...places] as const) : NAMES;
  const found = names.map((name) => parameters.get(name)).find((value) => value !== null);
  return found?.split(':').at(-1) ?? '';
};

/**
 * The request that brings what moto has restored to what the reference says of it: Multi-AZ and deletion protection only where
 * they are asked for, and the windows of backups and maintenance not the source's. Null where there is nothing to take back.
 */
export const correction = (call: RdsCall): URLSearchParams | null => {
  const { action, parameters } = call;
  if (!action.startsWith('RestoreDB')) return null;
  const isCluster = action.startsWith('RestoreDBCluster');
  return new URLSearchParams({
    Action: isCluster ? 'ModifyDBCluster' : 'ModifyDBInstance',
    Version: '2014-10-31',
    [isCluster ? 'DBClusterIdentifier' : 'DBInstanceIdentifier']: nameIn(call),
    DeletionProtection: parameters.get('DeletionProtection') ?? 'false',
    ...(isCluster ? {} : { MultiAZ: parameters.get('MultiAZ') ?? 'false' }),
    PreferredBackupWindow: '05:00-05:30',
    PreferredMaintenanceWindow: 'sun:06:00-sun:06:30',
    BackupRetentionPeriod: '1',
    ApplyImmediately: 'true',
  });
};
