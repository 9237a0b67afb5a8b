import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sleep } from '../../src/platform/clock.ts';

/** A record set as the fake keeps it. */
export interface FakeRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly values?: readonly string[];
  /** More elements, such as a weight: XML. */
  readonly more?: string;
}

interface FakeChange {
  readonly action: string;
  readonly record: FakeRecord;
}

interface FakeAnswer {
  readonly status: number;
  readonly xml: string;
}

const ID = 'Z0123456789FAKE';
const XMLNS = 'https://route53.amazonaws.com/doc/2013-04-01/';

const unescaped = (text: string): string =>
  text.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const inside = (xml: string, tag: string): readonly string[] =>
  [...xml.matchAll(new RegExp(`<${tag}>(.*?)</${tag}>`, 'gs'))].map(([, text = '']) => unescaped(text));

const fullName = (name: string): string => (name.endsWith('.') ? name : `${name}.`).toLowerCase();

const recordXml = ({ name, type, ttl, values = [], more = '' }: FakeRecord): string => {
  const records = values.map((value) => `<ResourceRecord><Value>${escaped(value)}</Value></ResourceRecord>`).join('');
  const plain = ttl === undefined ? '' : `<TTL>${ttl}</TTL><ResourceRecords>${records}</ResourceRecords>`;
  return `<ResourceRecordSet><Name>${name}</Name><Type>${type}</Type>${more}${plain}</ResourceRecordSet>`;
};

const changesOf = (body: string): readonly FakeChange[] =>
  [...body.matchAll(/<Change>(.*?)<\/Change>/gs)].map(([, xml = '']) => ({
    action: inside(xml, 'Action')[0] ?? '',
    record: {
      name: fullName(inside(xml, 'Name')[0] ?? ''),
      type: inside(xml, 'Type')[0] ?? '',
      ttl: Number(inside(xml, 'TTL')[0]),
      values: inside(xml, 'Value'),
    },
  }));

/**
 * A stand-in for one hosted zone of Route 53, for what moto 5.2 does not do: moto lets a DELETE pass whose values were there at
 * any time, refuses a CREATE after a DELETE of the same record in one change, and has every change everywhere at once. This one
 * keeps to the API reference as far as the router relies on it: a change is made as a whole or not at all, a DELETE has to name
 * type, TTL and values as they are, a CREATE has to find nothing, and a change is PENDING for a while. It was written by those
 * who wrote the router and was never compared with AWS.
 */
export class FakeRoute53 {
  readonly zone = ID;
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  #records: readonly FakeRecord[] = [];
  /** How often each change has been asked after. */
  readonly #asked = new Map<string, number>();
  /** The changes that were made, as `ACTION name value`. */
  readonly made: (readonly string[])[] = [];
  /** How often a change says PENDING before it is INSYNC. */
  pendingLooks = 0;
  isPrivate = false;
  /** In which form a refused change is told: as the API reference shows it, or as all other errors are. */
  refusal: 'own' | 'common' = 'own';
  /** Done before the next change is looked at, once. */
  beforeNext: (() => void) | undefined;
  /** How many requests were under way at the same time, at most. */
  mostAtOnce = 0;
  #underWay = 0;
  /** The next so many changes are made and their answers lost. */
  loseAnswers = 0;
  /** The next so many requests are answered by an error of that code. */
  refuse: { readonly code: string; readonly status: number; times: number } | undefined;

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Takes everything back to an empty zone. */
  reset(): void {
    this.#records = [];
    this.made.length = 0;
    this.#asked.clear();
    Object.assign(this, { pendingLooks: 0, isPrivate: false, refusal: 'own', loseAnswers: 0 });
    this.beforeNext = undefined;
    this.refuse = undefined;
  }

  /** Somebody sets a record by hand, in the place of the one of the same name and type. */
  set(record: FakeRecord): void {
    const set = { ...record, name: fullName(record.name) };
    this.#records = [...this.#records.filter((one) => one.name !== set.name || one.type !== set.type), set];
  }

  /** The records of a name, each as `type ttl values`. */
  show(name: string): readonly string[] {
    const shown = this.#records.filter((one) => one.name === fullName(name));
    return shown.map(({ type, ttl, values = [] }) => [type, ttl, ...values].join(' '));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#underWay += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#underWay);
    let body = '';
    for await (const chunk of request) body += chunk;
    // Late enough that whoever asks twice at once is seen to.
    await sleep(1);
    this.#underWay -= 1;
    const answer = this.#reply(request, body);
    if (answer === null) return void request.socket.destroy();
    response.writeHead(answer.status, { 'content-type': 'text/xml' });
    response.end(`<?xml version="1.0"?>${answer.xml}`);
  }

  /** What is answered, or null when the answer is to be lost. */
  #reply({ url = '', method }: IncomingMessage, body: string): FakeAnswer | null {
    const { pathname, searchParams } = new URL(url, 'http://fake');
    if (this.refuse !== undefined && this.refuse.times > 0) {
      this.refuse.times -= 1;
      return failure(this.refuse.code, this.refuse.status);
    }
    const [, , what, id = '', part] = pathname.split('/');
    if (what === 'change') return this.#looked(id);
    if (id !== ID) return failure('NoSuchHostedZone', 404);
    if (part === undefined) return { status: 200, xml: zoneXml(this.isPrivate) };
    if (method === 'GET') return { status: 200, xml: this.#list(searchParams) };
    return this.#changed(changesOf(body));
  }

  #looked(id: string): FakeAnswer {
    const number = Number(id.slice(1));
    if (number === 0 || number > this.made.length) return failure('NoSuchChange', 404);
    this.#asked.set(id, (this.#asked.get(id) ?? 0) + 1);
    return { status: 200, xml: `<GetChangeResponse xmlns="${XMLNS}">${this.#info(id)}</GetChangeResponse>` };
  }

  #changed(changes: readonly FakeChange[]): FakeAnswer | null {
    const refused = this.#change(changes);
    if (refused !== undefined && this.refusal === 'own') return { status: 400, xml: ownErrorXml(refused) };
    if (refused !== undefined) return failure('InvalidChangeBatch', 400, refused);
    if (this.loseAnswers > 0) {
      this.loseAnswers -= 1;
      return null;
    }
    const name = 'ChangeResourceRecordSetsResponse';
    return { status: 200, xml: `<${name} xmlns="${XMLNS}">${this.#info(`C${this.made.length}`)}</${name}>` };
  }

  #info(id: string): string {
    const status = (this.#asked.get(id) ?? 0) > this.pendingLooks ? 'INSYNC' : 'PENDING';
    return `<ChangeInfo><Id>/change/${id}</Id><Status>${status}</Status><SubmittedAt>2026-11-27T00:00:00Z</SubmittedAt></ChangeInfo>`;
  }

  #list(query: URLSearchParams): string {
    const name = fullName(query.get('name') ?? '');
    const keyOf = (text: string): string => text.split('.').toReversed().join('.');
    const listed = this.#records
      .filter((one) => keyOf(one.name) >= keyOf(name))
      .toSorted((a, b) => (keyOf(a.name) + a.type < keyOf(b.name) + b.type ? -1 : 1))
      .slice(0, Number(query.get('maxitems') ?? 300));
    const sets = listed.map(recordXml).join('');
    return `<ListResourceRecordSetsResponse xmlns="${XMLNS}"><ResourceRecordSets>${sets}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>`;
  }

  /** Makes all changes, or none and says why. */
  #change(changes: readonly FakeChange[]): string | undefined {
    this.beforeNext?.();
    this.beforeNext = undefined;
    let records = this.#records;
    for (const { action, record } of changes) {
      const found = records.find((one) => one.name === record.name && one.type === record.type);
      const what = `resource record set [name='${record.name}', type='${record.type}']`;
      if (action === 'CREATE') {
        if (found !== undefined) return `Tried to create ${what} but it already exists`;
        records = [...records, record];
        continue;
      }
      if (action !== 'DELETE') return `the fake does not know ${action}`;
      if (found === undefined) return `Tried to delete ${what} but it was not found`;
      if (recordXml(found) !== recordXml(record)) {
        return `Tried to delete ${what} but the values provided do not match the current values`;
      }
      records = records.filter((one) => one !== found);
    }
    this.#records = records;
    this.made.push(changes.map(({ action, record }) => `${action} ${record.name} ${record.values?.join(' ')}`));
    return undefined;
  }
}

const failure = (code: string, status: number, said = 'said by the fake'): FakeAnswer => ({
  status,
  xml: errorXml(code, said),
});

const errorXml = (code: string, said: string): string =>
  `<ErrorResponse xmlns="${XMLNS}"><Error><Type>Sender</Type><Code>${code}</Code><Message>${escaped(said)}</Message></Error></ErrorResponse>`;

const ownErrorXml = (said: string): string =>
  `<InvalidChangeBatch xmlns="${XMLNS}"><Messages><Message>${escaped(said)}</Message></Messages></InvalidChangeBatch>`;

const zoneXml = (isPrivate: boolean): string =>
  `<GetHostedZoneResponse xmlns="${XMLNS}"><HostedZone><Id>/hostedzone/${ID}</Id><Name>internal.</Name><CallerReference>c</CallerReference><Config><PrivateZone>${isPrivate}</PrivateZone></Config></HostedZone></GetHostedZoneResponse>`;
