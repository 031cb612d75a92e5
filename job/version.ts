import { readFileSync } from 'node:fs'

/** The job's version: that of package.json, which releases are cut from. */
export const version: string = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
