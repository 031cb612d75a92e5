/** For what comes in its time: a machine that is busy takes longer than the second that vitest waits. Below the time that a test has. */
export const patiently = { timeout: 50_000, interval: 20 }

/** Where each look is a program of its own. */
export const slowly = { timeout: 120_000, interval: 250 }
