import { writeFileSync, writeSync } from 'node:fs'
import type { Reporter, TestModule } from 'vitest/node'

/**
 * Ends a run with the line `N passed, N failed, N skipped`. With HOLDFAST_TALLY set, the line goes to that file
 * instead, for `test_scripts/test` to add its own checks.
 */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]) {
    const count = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        count[state === 'pending' ? 'skipped' : state] += 1
      }
      // A file that cannot be loaded, or a hook that fails, has no failed test of its own.
      if (!module.ok() && module.errors().length > 0) count.failed += 1
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) count.failed += 1
    }
    const line = `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`
    const file = process.env.HOLDFAST_TALLY
    // At the exit, so that nothing comes after it.
    process.once('exit', () => (file ? writeFileSync(file, line) : writeSync(1, line)))
  }
}
