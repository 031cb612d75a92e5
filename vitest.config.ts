import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { patiently } from './job/test/patience.ts'

const integration = 'job/test/integration/**/*.test.ts'
/** Of one small server each, or of pods; the others start clusters of real data nodes, of up to 4 GB. */
const small =
  'job/test/integration/{mysql,mysql-options,mysql-rows,storages,postgres,timescaledb,mongodb,redis,cockroachdb,files,files-places,kubernetes,hooks,metrics}.test.ts'
/** They wait for servers most of the time. */
const onServers = { maxWorkers: 2, testTimeout: 300_000, hookTimeout: 300_000, sequence: { groupOrder: 1 } }

export default defineConfig({
  test: {
    environment: 'node',
    reporters: ['default', './test_scripts/reporter.ts'],
    // Tests start the job many hundred times: like its launcher, they let Node keep what it compiled.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/node', import.meta.url)) },
    expect: { poll: patiently },
    // A hanging test fails instead of holding the run.
    teardownTimeout: 20_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['job/test/**/*.test.ts'],
          exclude: [integration],
          maxWorkers: 2,
          // The first test of a file waits for modules, too.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'integration', include: [integration], exclude: [small], ...onServers },
      },
      { extends: true, test: { name: 'databases', include: [small], ...onServers } },
    ],
  },
})
