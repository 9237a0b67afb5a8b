import pg from 'pg';
import { SwitchbackError } from '../domain/errors.ts';
import { SHOP_FOREIGN_KEYS, SHOP_INDEXES, SHOP_KEYS, SHOP_TABLES } from './shop-schema.ts';

/** How many rows each of the larger tables has, so that clients can pick existing ones. */
export interface ShopSize {
  readonly products: number;
  /** Three for each of the first products. */
  readonly images: number;
  /** One for each of the first products. */
  readonly documents: number;
  readonly prices: number;
  readonly customers: number;
  readonly orders: number;
  readonly items: number;
  readonly payments: number;
  readonly shipments: number;
  readonly events: number;
  readonly carts: number;
  /** Keys of each phase's register, numbered from 1. */
  readonly registerKeys: number;
  /** Rows of the whole shop, exactly. */
  readonly rows: number;
}

/** What to make. */
export interface ShopOptions {
  /** At least so many rows are made in all; 1 000 000 without it, and never fewer than about 2 000. */
  readonly rows?: number;
}

const DEFAULT_ROWS = 1_000_000;
const CATEGORIES = 200;
const SUPPLIERS = 500;
const REGISTER_KEYS = 64;
/** Fills two cores; more sessions only wait for them. */
const SESSIONS = 3;

/**
 * Makes the schema `shop` with its rows in an existing database, with statistics. Everything is computed by the server
 * from the row's number, so the same `rows` always gives the same shop. Throws kind `refused` when the schema exists.
 */
export const createShop = async (url: string, options: ShopOptions = {}): Promise<ShopSize> => {
  const parts = partsOf(options.rows ?? DEFAULT_ROWS);
  await refuseExisting(url);
  await runAll(url, [[SHOP_TABLES]]);
  await runAll(url, loads(parts));
  await runAll(
    url,
    [...SHOP_KEYS, ...SHOP_INDEXES].map((statement) => [statement]),
  );
  await runAll(
    url,
    SHOP_FOREIGN_KEYS.map((statement) => [statement]),
  );
  // The last commits wait for the disk, and so for everything that was written before them.
  await runAll(url, [[SET_SEQUENCES, 'SET synchronous_commit = on', 'ANALYZE']]);
  return { ...parts, registerKeys: REGISTER_KEYS, rows: totalOf(parts) };
};

type Parts = Omit<ShopSize, 'registerKeys' | 'rows'>;

const partsOf = (rows: number): Parts => {
  const share = (percent: number): number => Math.max(100, Math.ceil((rows * percent) / 100));
  const orders = share(18);
  return {
    products: share(5),
    images: share(3),
    documents: share(1),
    prices: share(7),
    customers: share(8),
    orders,
    items: orders * 2,
    payments: share(8),
    shipments: share(4),
    events: share(9),
    carts: share(1),
  };
};

/** Addresses are one for each customer; registers are one row a key for either phase. */
const totalOf = (parts: Parts): number =>
  Object.values(parts).reduce((sum: number, count: number) => sum + count, 0) +
  parts.customers +
  CATEGORIES +
  SUPPLIERS +
  2 * REGISTER_KEYS;

/** Each element is one table's statements. The largest come first, so that no session is left with one at the end. */
const loads = (parts: Parts): string[][] => [...orderLoads(parts), ...catalogLoads(parts)];

const from = (count: number): string => `FROM generate_series(1, ${count}) AS i`;

const catalogLoads = (parts: Parts): string[][] => [
  [
    `INSERT INTO shop.product SELECT i, md5('sku' || i)::uuid, i % ${CATEGORIES} + 1, i % ${SUPPLIERS} + 1,
      'Product ' || i, (i % 9973) / 8.0, ARRAY['tag' || i % 7, 'größe ' || i % 11],
      jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[i % 3 + 1], 'weight', i % 1000 / 100.0, 'parts', i % 5),
      CASE WHEN i % 4 = 0 THEN tstzrange('2026-01-01 00:00+00'::timestamptz + i % 90 * interval '1 day', NULL) END,
      '2026-01-01 00:00+00'::timestamptz + i * interval '1 second' ${from(parts.products)}`,
  ],
  [
    `INSERT INTO shop.product_price SELECT i, i % ${parts.products} + 1, i % 7919 / 16.0,
      tstzrange('2025-01-01 00:00+00'::timestamptz + i % 365 * interval '1 day', '2026-06-01 00:00+00') ${from(parts.prices)}`,
  ],
  [
    `INSERT INTO shop.product_image SELECT (i - 1) / 3 + 1, (i - 1) % 3 + 1, decode(md5('a' || i) || md5('b' || i), 'hex'),
      CASE WHEN i % 5 > 0 THEN 'Picture ' || i END ${from(parts.images)}`,
  ],
  [
    `INSERT INTO shop.product_document SELECT i, 1, (SELECT string_agg(md5(i || '/' || j), '')
      FROM generate_series(1, 64 + i % 16) AS j) ${from(parts.documents)}`,
  ],
  [
    `INSERT INTO shop.category SELECT i, NULLIF(i / 10, 0), 'Category ' || i, ARRAY['root', 'c' || i / 10] ${from(CATEGORIES)}`,
    `INSERT INTO shop.supplier SELECT i, 'Supplier ' || i, 'supplier' || i || '@example.org',
      jsonb_build_object('days', i % 60, 'note', NULL) ${from(SUPPLIERS)}`,
    `INSERT INTO shop.catalog_register SELECT i, 0, 0, 0, 0 ${from(REGISTER_KEYS)}`,
    `INSERT INTO shop.order_register SELECT i, 0, 0, 0, 0 ${from(REGISTER_KEYS)}`,
  ],
];

const orderLoads = (parts: Parts): string[][] => [
  [
    `INSERT INTO shop.order_item (order_id, line, product_id, quantity, unit_price)
      SELECT (i - 1) / 2 + 1, (i - 1) % 2 + 1, i % ${parts.products} + 1, i % 4 + 1, i % 9973 / 8.0 ${from(parts.items)}`,
  ],
  [
    `INSERT INTO shop."order" SELECT i, i % ${parts.customers} + 1, 'paid', 100000 + 7 * i::bigint,
      CASE WHEN i % 10 = 0 THEN E'Bitte klingeln\\n— 2. Stock ' || i END,
      '2026-01-01 00:00+00'::timestamptz + i % 7776000 * interval '1 second' ${from(parts.orders)}`,
  ],
  [
    `INSERT INTO shop.customer SELECT i, 'customer' || i || '@example.org', 'Customer ' || i,
      (ARRAY['plain', 'silver', 'gold'])[i % 3 + 1]::shop.tier, jsonb_build_object('news', i % 2 = 0, 'n', i),
      ('10.' || i % 256 || '.0.' || i % 251)::inet, '2025-01-01 00:00+00'::timestamptz + i * interval '1 minute'
      ${from(parts.customers)}`,
  ],
  [
    `INSERT INTO shop.order_event SELECT i, '2026-01-01 00:00+00'::timestamptz + i % 1000 * interval '2 hours 8 minutes',
      i % ${parts.orders} + 1, 'placed', CASE WHEN i % 3 = 0 THEN jsonb_build_object('by', 'web', 'i', i) END
      ${from(parts.events)}`,
  ],
  [
    `INSERT INTO shop.payment SELECT md5('payment' || i)::uuid, i % ${parts.orders} + 1, i % 9973 / 4.0, i / 3.0::float8,
      '2026-01-01 00:00'::timestamp + i * interval '1.5 seconds' ${from(parts.payments)}`,
  ],
  [
    `INSERT INTO shop.address SELECT i, i, 'Street ' || i, 'Town ' || i % 500, point(i % 180, i % 90 / 3.0)
      ${from(parts.customers)}`,
  ],
  [
    `INSERT INTO shop.shipment (order_id, label, handling) SELECT i % ${parts.orders} + 1, (i % 65536)::bit(16),
      i % 1000 * interval '1 minute 1 second' ${from(parts.shipments)}`,
  ],
  [`INSERT INTO shop.cart_item SELECT 'cart ' || i / 3, i % ${parts.products} + 1, i % 5 + 1 ${from(parts.carts)}`],
];

const SET_SEQUENCES = `
SELECT setval(pg_get_serial_sequence('shop.category', 'id'), (SELECT max(id) FROM shop.category));
SELECT setval(pg_get_serial_sequence('shop.supplier', 'id'), (SELECT max(id) FROM shop.supplier));
SELECT setval(pg_get_serial_sequence('shop.product', 'id'), (SELECT max(id) FROM shop.product));
SELECT setval(pg_get_serial_sequence('shop.product_price', 'id'), (SELECT max(id) FROM shop.product_price));
SELECT setval(pg_get_serial_sequence('shop.customer', 'id'), (SELECT max(id) FROM shop.customer));
SELECT setval(pg_get_serial_sequence('shop.address', 'id'), (SELECT max(id) FROM shop.address));
SELECT setval(pg_get_serial_sequence('shop."order"', 'id'), (SELECT max(id) FROM shop."order"));
SELECT setval(pg_get_serial_sequence('shop.order_event', 'id'), (SELECT max(id) FROM shop.order_event));
SELECT setval('shop.invoice_number', (SELECT max(invoice) FROM shop."order"));
`;

const refuseExisting = async (url: string): Promise<void> => {
  await withSession(url, async (client) => {
    const found = await client.query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'shop'");
    if (found.rowCount === 0) return;
    throw new SwitchbackError('refused', 'the database already has a schema named shop', {
      remedy: 'name an empty database',
    });
  });
};

/** Runs lists of statements, several lists at once on sessions of their own, each list in its order. */
const runAll = async (url: string, lists: readonly (readonly string[])[]): Promise<void> => {
  const waiting = [...lists];
  const work = async (client: pg.Client): Promise<void> => {
    await client.query(LOADER_SETTINGS);
    for (let list = waiting.shift(); list !== undefined; list = waiting.shift()) {
      for (const statement of list) await client.query(statement);
    }
  };
  const sessions = Array.from({ length: Math.min(SESSIONS, lists.length) }, () => withSession(url, work));
  await Promise.all(sessions);
};

const withSession = async (url: string, work: (client: pg.Client) => Promise<void>): Promise<void> => {
  const client = new pg.Client({ connectionString: url, application_name: 'shop-loader' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
};

/** Only the end of the whole load has to be durable. */
const LOADER_SETTINGS = "SET synchronous_commit = off; SET maintenance_work_mem = '128MB'; SET timezone = 'UTC'";
