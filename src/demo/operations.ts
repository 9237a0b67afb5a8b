import type { OperationKind } from './ledger.ts';
import { LEDGER_TABLES } from './primary-rows.ts';
import type { ShopSize } from './shop.ts';
import type { ShopPhase } from './shop-schema.ts';

/** A statement with its parameters. */
export interface Statement {
  readonly text: string;
  readonly values: readonly (string | number)[];
}

/**
 * What one operation does, chosen once, so that a client that is refused tries the same again. The first statement touches
 * the register and returns `version` and `saw_op`; the others are the shop's business, in the same transaction.
 */
export interface Work {
  readonly phase: ShopPhase;
  readonly kind: OperationKind;
  readonly key: number;
  /** The statements, for the operation id that the ledger gave and the client's number. */
  readonly statements: (op: number, client: number) => readonly Statement[];
}

/** Random numbers in [0, 1) from a seed, the same on every run (mulberry32, public domain, by Tommy Ettinger). */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
};

/** Chooses what a client does next: on either phase about equally often, one in six operations only reads. */
export const chooseWork = (random: () => number, size: ShopSize): Work => {
  const below = (count: number): number => Math.floor(random() * count) + 1;
  const phase: ShopPhase = random() < 0.5 ? 'catalog' : 'orders';
  const key = below(size.registerKeys);
  if (random() < 1 / 6) return { phase, kind: 'read', key, statements: () => [readRegister(phase, key)] };
  const business = pick(phase === 'catalog' ? CATALOG : ORDERS, random())({ below, size });
  return {
    phase,
    kind: 'write',
    key,
    statements: (op, client) => [writeRegister({ phase, key, op, client }), ...business(op)],
  };
};

/** What a kind of business needs to choose its rows: `below(n)` is a random whole number from 1 to n. */
interface Dice {
  readonly below: (count: number) => number;
  readonly size: ShopSize;
}

/** Chooses rows, and gives the statements once the operation's id is known. */
type Business = (dice: Dice) => (op: number) => Statement[];

const readRegister = (phase: ShopPhase, key: number): Statement => ({
  text: `SELECT version, op AS saw_op FROM ${LEDGER_TABLES[phase].register} WHERE key = $1`,
  values: [key],
});

/** The register's row lock puts the writers of a key in one order, which its version numbers. */
const writeRegister = (write: { phase: ShopPhase; key: number; op: number; client: number }): Statement => {
  const tables = LEDGER_TABLES[write.phase];
  return {
    text: `WITH now AS (UPDATE ${tables.register} SET version = version + 1, op = $2, after_op = op, writer = $3
        WHERE key = $1 RETURNING key, version, after_op)
      INSERT INTO ${tables.write} (op, client, key, version, after_op, payload)
      SELECT $2, $3, key, version, after_op, repeat(md5($2::text), 1 + $2::int % 4) FROM now
      RETURNING version, after_op AS saw_op`,
    values: [write.key, write.op, write.client],
  };
};

const pick = (choices: readonly (readonly [number, Business])[], dice: number): Business => {
  let rest = dice * choices.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, business] of choices) {
    rest -= weight;
    if (rest < 0) return business;
  }
  return () => () => [];
};

const changePrice: Business = ({ below, size }) => {
  const values = [below(size.products), below(90_000) / 16];
  return () => [
    { text: 'UPDATE shop.product SET price = $2, updated_at = now() WHERE id = $1', values },
    {
      text: 'INSERT INTO shop.product_price (product_id, price, valid) VALUES ($1, $2, tstzrange(now(), NULL))',
      values,
    },
  ];
};

const tagProducts: Business = ({ below, size }) => {
  const first = below(size.products - 1);
  return (op) => [
    {
      text: `UPDATE shop.product SET attributes = attributes || jsonb_build_object('seen', $3::bigint),
        tags = tags[1:2] || ('op ' || $3::bigint) WHERE id IN ($1, $2)`,
      values: [first, first + 1, op],
    },
  ];
};

const addProduct: Business = ({ below }) => {
  const supplier = below(100);
  return (op) => [
    {
      text: `WITH added AS (INSERT INTO shop.product (sku, category_id, supplier_id, name, price, tags, attributes, updated_at)
          VALUES (md5('op' || $1::bigint)::uuid, $2, $2, 'New ' || $1::bigint, 9.99, '{}', '{"new": true}', now()) RETURNING id)
        INSERT INTO shop.product_image SELECT id, 1, decode(md5($1::text), 'hex'), NULL FROM added`,
      values: [op, supplier],
    },
  ];
};

/** Removes the oldest of the products that clients added. */
const removeProduct: Business = ({ size }) => {
  const values = [size.products];
  return () => [
    { text: 'DELETE FROM shop.product WHERE id = (SELECT min(id) FROM shop.product WHERE id > $1)', values },
  ];
};

/** Leaves the long body as it is: its value is not in the change stream. */
const reviseDocument: Business = ({ below, size }) => {
  const values = [below(size.documents)];
  return () => [{ text: 'UPDATE shop.product_document SET revision = revision + 1 WHERE product_id = $1', values }];
};

const rewriteDocument: Business = ({ below, size }) => {
  const document = below(size.documents);
  return (op) => [
    {
      text: `UPDATE shop.product_document SET revision = revision + 1, body = repeat(md5($2::text), 70)
        WHERE product_id = $1`,
      values: [document, op],
    },
  ];
};

/** Changes a key. */
const moveImage: Business = ({ below, size }) => {
  const values = [below(Math.floor(size.images / 3))];
  return () => [
    {
      text: 'UPDATE shop.product_image SET "position" = -"position" WHERE product_id = $1 AND abs("position") = 1',
      values,
    },
  ];
};

const forgetPrice: Business = ({ below, size }) => {
  const values = [below(size.products)];
  return () => [{ text: 'DELETE FROM shop.product_price WHERE id = $1', values }];
};

const CATALOG: readonly (readonly [number, Business])[] = [
  [30, changePrice],
  [15, tagProducts],
  [12, addProduct],
  [6, removeProduct],
  [15, reviseDocument],
  [4, rewriteDocument],
  [9, moveImage],
  [9, forgetPrice],
];

const placeOrder: Business = ({ below, size }) => {
  const values = [below(size.customers), below(size.products), below(9)];
  return (op) => [
    {
      text: `WITH placed AS (INSERT INTO shop."order" (customer_id, status, placed_at) VALUES ($1, 'new', now()) RETURNING id),
        items AS (INSERT INTO shop.order_item (order_id, line, product_id, quantity, unit_price)
          SELECT id, line, $2, $3, 10.5 * line FROM placed, generate_series(1, 3) AS line)
        INSERT INTO shop.order_event (at, order_id, what, detail)
        SELECT now(), id, 'placed', jsonb_build_object('op', $4::bigint) FROM placed`,
      values: [...values, op],
    },
  ];
};

/** Locks the order by changing it, so that it cannot be cancelled between the look and the payment. */
const pay: Business = ({ below, size }) => {
  const order = below(size.orders);
  return (op) => [
    {
      text: `WITH paid AS (UPDATE shop."order" SET status = 'paid', note = NULL WHERE id = $1 RETURNING id)
        INSERT INTO shop.payment SELECT md5('op' || $2::bigint)::uuid, id, 12.34, 0.1, localtimestamp FROM paid`,
      values: [order, op],
    },
  ];
};

const ship: Business = ({ below, size }) => {
  const values = [below(size.orders)];
  return () => [
    {
      text: `WITH sent AS (UPDATE shop."order" SET status = 'sent' WHERE id = $1 RETURNING id)
        INSERT INTO shop.shipment (order_id, label, handling) SELECT id, B'1011', interval '1 day 2 hours' FROM sent`,
      values,
    },
  ];
};

const cancel: Business = ({ below, size }) => {
  const values = [below(size.orders)];
  return () => [{ text: 'DELETE FROM shop."order" WHERE id = $1', values }];
};

const greetCustomer: Business = ({ below, size }) => {
  const customer = below(size.customers);
  return (op) => [
    {
      text: `UPDATE shop.customer SET preferences = preferences || jsonb_build_object('op', $2::bigint),
        tier = CASE tier WHEN 'plain' THEN 'silver' WHEN 'silver' THEN 'gold' ELSE 'plain' END::shop.tier WHERE id = $1`,
      values: [customer, op],
    },
  ];
};

const fillCart: Business = ({ below, size }) => {
  const values = [`cart ${below(60)}`, below(size.products)];
  return () => [
    {
      text: `INSERT INTO shop.cart_item VALUES ($1, $2, 1)
        ON CONFLICT (session, product_id) DO UPDATE SET quantity = shop.cart_item.quantity + 1`,
      values,
    },
  ];
};

/** Changes a key of text. */
const signIn: Business = ({ below }) => {
  const session = `cart ${below(60)}`;
  return (op) => [
    {
      text: `UPDATE shop.cart_item SET session = 'customer ' || $2::bigint WHERE (session, product_id) =
        (SELECT session, product_id FROM shop.cart_item WHERE session = $1 ORDER BY product_id LIMIT 1)`,
      values: [session, op],
    },
  ];
};

const emptyCart: Business = ({ below }) => {
  const values = [`cart ${below(60)}`];
  return () => [{ text: 'DELETE FROM shop.cart_item WHERE session = $1', values }];
};

/** Moves a row to another partition. */
const postpone: Business = ({ below, size }) => {
  const values = [below(size.events)];
  return () => [
    { text: `UPDATE shop.order_event SET at = at + interval '1 month' WHERE id = $1 AND at < '2026-06-01'`, values },
  ];
};

const ORDERS: readonly (readonly [number, Business])[] = [
  [34, placeOrder],
  [14, pay],
  [6, ship],
  [4, cancel],
  [12, greetCustomer],
  [10, fillCart],
  [6, signIn],
  [4, emptyCart],
  [10, postpone],
];
