/** How long to wait before something is tried again. */

const FIRST_MS = 250;
const LONGEST_MS = 8_000;

/** A pause after so many failures: it doubles, and is drawn anew below that (full jitter). */
export function pauseMs(failures: number): number {
  return Math.random() * Math.min(FIRST_MS * 2 ** failures, LONGEST_MS);
}

/** Waits, unless the signal ends it: then the promise rejects with its reason. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
