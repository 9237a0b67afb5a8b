import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts in hundredths of a second for programs, whatever the kernel's own tick is. */
const TICKS_PER_SECOND = 100;
const PARENT = 1;
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

/** The fields behind a process's name; none when it has gone. */
const statOf = (pid: number): readonly number[] => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in brackets, may hold blanks.
    return stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
  } catch {
    return [];
  }
};

/** Processor time of a process so far, in seconds; 0 when it has gone. */
export const cpuSecondsOf = (pid: number): number => {
  const fields = statOf(pid);
  return ((fields[USER_TICKS] ?? 0) + (fields[SYSTEM_TICKS] ?? 0)) / TICKS_PER_SECOND;
};

/** The same of a process and its children that live, such as a server's backends. */
export const cpuSecondsUnder = (pid: number): number =>
  readdirSync('/proc')
    .map(Number)
    .filter((other) => other === pid || statOf(other)[PARENT] === pid)
    .reduce((sum, other) => sum + cpuSecondsOf(other), 0);
