import { execFile } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Side } from '../../../src/domain/position.ts';
import { sleep } from '../../../src/platform/clock.ts';
import { runSql } from '../stage.ts';
import type { Choose } from './fault.ts';

/** Where the distribution's package `libfaketime` puts its library for programs with threads. */
const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map(
  (architecture) => `/usr/lib/${architecture}/faketime/libfaketimeMT.so.1`,
);
/** The library reads a clock's file again after so long, in whole seconds of its own. */
const SEEN_AFTER_MS = 2_500;
const HOUR_SECONDS = 3_600;
const SHARED_MEMORY = '/dev/shm';

/** Whose wall clock can be set: the worker's process, or everything of one server. */
export type ClockOwner = 'worker' | Side;

/** Wall clocks that can be set while their processes run. The monotonic clock stays what it is, as on a real machine. */
export class Clocks {
  readonly #directory: string;
  readonly #library: string;

  private constructor(directory: string, library: string) {
    this.#directory = directory;
    this.#library = library;
    for (const owner of ['worker', 'source', 'target'] as const) this.set(owner, 0);
  }

  /** Throws where the library is not installed or does not work with this Node. */
  static async make(directory: string): Promise<Clocks> {
    const library = LIBRARIES.find((path) => existsSync(path));
    if (library === undefined) throw new Error('libfaketime is not installed (Debian: apt-get install libfaketime)');
    const clocks = new Clocks(directory, library);
    clocks.set('worker', HOUR_SECONDS);
    const env = { ...process.env, ...clocks.environment('worker') };
    const { stdout } = await promisify(execFile)(process.execPath, ['-p', 'Date.now()'], { env });
    clocks.set('worker', 0);
    const aheadMs = Number(stdout) - Date.now();
    if (Math.abs(aheadMs - HOUR_SECONDS * 1_000) > 60_000)
      throw new Error(`libfaketime makes ${aheadMs} ms of an hour`);
    return clocks;
  }

  /** What a process of this owner needs in its environment. */
  environment(owner: ClockOwner): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: this.#library,
      FAKETIME_TIMESTAMP_FILE: this.#path(owner),
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      NO_FAKE_STAT: '1',
    };
  }

  /** Sets a clock so many seconds away from the real time. */
  set(owner: ClockOwner, seconds: number): void {
    writeFileSync(this.#path(owner), `${seconds < 0 ? '' : '+'}${seconds}\n`);
  }

  /** Removes what the library leaves behind of processes that were killed. */
  remove(): void {
    for (const name of readdirSync(SHARED_MEMORY)) {
      const pid = /^(?:faketime_shm|sem\.faketime_sem)_(\d+)$/.exec(name)?.[1];
      if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
      try {
        rmSync(join(SHARED_MEMORY, name), { force: true });
      } catch {
        // Another user's, and so not of this run.
      }
    }
  }

  #path(owner: ClockOwner): string {
    return join(this.#directory, `clock-${owner}`);
  }
}

/** A wall clock jumps by an hour, and back when it is healed. No decision may depend on it (fault 67). */
export const jumpClock =
  (clocks: Clocks): Choose =>
  ({ stage, record }, dice) => {
    const owner = dice.pick<ClockOwner>(['worker', 'source', 'target']);
    const seconds = dice.chance(0.5) ? HOUR_SECONDS : -HOUR_SECONDS;
    let isSet = false;
    return {
      kind: `${owner}'s clock ${seconds > 0 ? 'ahead' : 'back'} by an hour`,
      detail: '',
      lastsMs: dice.between(4_000, 9_000),
      inject: async () => {
        clocks.set(owner, seconds);
        isSet = true;
        if (owner === 'worker') return;
        await sleep(SEEN_AFTER_MS);
        const sql = `SELECT extract(epoch FROM clock_timestamp())::float8 AS now`;
        const now = Number((await runSql(stage.directUrls[owner], sql))[0]?.now);
        const aheadSeconds = now - Date.now() / 1000;
        if (Math.abs(aheadSeconds - seconds) > 60)
          record.violate(`the ${owner}'s clock did not jump: ${aheadSeconds} s`);
      },
      heal: async () => {
        clocks.set(owner, 0);
        if (isSet) await sleep(SEEN_AFTER_MS);
        isSet = false;
      },
    };
  };
