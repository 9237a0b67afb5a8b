import { execFile } from 'node:child_process';
import { existsSync, rmSync, statfsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Side } from '../../../src/domain/position.ts';
import { codeOf } from '../../../src/platform/postgres/server.ts';
import { runSql } from '../stage.ts';
import type { Choose } from './fault.ts';
import { revive } from './processes.ts';

const run = promisify(execFile);

/** Room for a server with its log and the rows of an hour. */
const DISK_BYTES = 1_500 * 2 ** 20;
const LOG_SWITCHES = 6;
const MOST = 0.99;
const BIT_BYTES = 65_536;

/** A file system in memory that holds one server's whole directory: tables, log and all. */
export class Disk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Mounts it. Throws what `mount` said where that cannot be: without root. */
  static async mount(path: string): Promise<Disk> {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES},mode=0755`, 'switchback-chaos', path]);
    return new Disk(path);
  }

  /** Takes all the room that is left: most of it at once, and the rest, which the server also takes from, bit by bit. */
  async fill(): Promise<void> {
    const { bavail, bsize } = statfsSync(this.path);
    const most = Math.max(1, Math.floor(bavail * MOST)) * bsize;
    await run('fallocate', ['-l', String(most), this.#filler]);
    const bit = Buffer.alloc(BIT_BYTES);
    try {
      for (;;) await appendFile(this.#filler, bit);
    } catch (error) {
      if (codeOf(error) !== 'ENOSPC') throw error;
    }
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  get isFull(): boolean {
    return existsSync(this.#filler);
  }

  /** Everything on it is gone then. */
  async unmount(): Promise<void> {
    await run('umount', ['--lazy', this.path]).catch(() => undefined);
  }

  get #filler(): string {
    return join(this.path, 'filler');
  }
}

/**
 * The disk of one server is full: rows and files that grow are refused; when its log needs a new segment, which a part of
 * these faults brings about at once, the server goes down and cannot recover until there is room.
 */
export const fillDisk =
  (side: Side, disk: Disk): Choose =>
  ({ stage }, dice) => {
    const alsoLog = dice.chance(0.5);
    const lastsMs = dice.between(2_000, 10_000);
    const server = stage.servers[side];
    return {
      kind: `${side}'s disk full`,
      detail: `${alsoLog ? 'its log needs room at once, ' : ''}${lastsMs} ms`,
      lastsMs,
      inject: async () => {
        await disk.fill();
        if (!alsoLog) return;
        // Each begins a segment; it fails when the server can make none, and then so it should.
        const sql = `SELECT pg_logical_emit_message(false, 'chaos', 'fill'); SELECT pg_switch_wal()`;
        for (let i = 0; i < LOG_SWITCHES; i++) await runSql(server.url, sql).catch(() => undefined);
      },
      heal: async () => {
        if (!disk.isFull) return;
        disk.free();
        await revive(server);
      },
    };
  };
