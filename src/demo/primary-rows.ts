import pg from 'pg';
import type { PrimaryRows, RegisterRow, WriteRow } from './ledger-check.ts';
import type { ShopPhase } from './shop-schema.ts';

/** The journal and the register of each phase, which the clients write besides the shop's own tables. */
export const LEDGER_TABLES: Readonly<Record<ShopPhase, { readonly write: string; readonly register: string }>> = {
  catalog: { write: 'shop.catalog_write', register: 'shop.catalog_register' },
  orders: { write: 'shop.order_write', register: 'shop.order_register' },
};

/** Reads what the primary of each phase holds of the clients' operations, from the URL given for that phase. */
export const readPrimaryRows = async (urls: Readonly<Record<ShopPhase, string>>): Promise<PrimaryRows> => {
  const catalog = await readPhase('catalog', urls.catalog);
  const orders = await readPhase('orders', urls.orders);
  return {
    writes: [...catalog.writes, ...orders.writes],
    registers: [...catalog.registers, ...orders.registers],
  };
};

const readPhase = async (phase: ShopPhase, url: string): Promise<PrimaryRows> => {
  const tables = LEDGER_TABLES[phase];
  const client = new pg.Client({ connectionString: url, application_name: 'shop-ledger' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    // As arrays: the same rows as objects would take several times the memory.
    const writes = await client.query<[string, number, number, number, string]>({
      text: `SELECT op, client, key, version, after_op FROM ${tables.write}`,
      rowMode: 'array',
    });
    const registers = await client.query<[number, number, string]>({
      text: `SELECT key, version, op FROM ${tables.register}`,
      rowMode: 'array',
    });
    return {
      writes: writes.rows.map(
        ([op, writer, key, version, afterOp]): WriteRow => ({
          phase,
          op: Number(op),
          client: writer,
          key,
          version,
          afterOp: Number(afterOp),
        }),
      ),
      registers: registers.rows.map(([key, version, op]): RegisterRow => ({ phase, key, version, op: Number(op) })),
    };
  } finally {
    await client.end();
  }
};
