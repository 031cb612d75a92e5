/** For what comes in its time: a machine that is busy takes longer than the second that vitest waits. Below the time that a test has. */
export const patiently = { timeout: 50_000, interval: 20 }
