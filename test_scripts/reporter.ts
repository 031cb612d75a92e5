import { writeFileSync, writeSync } from 'node:fs'
import type { Reporter, TestModule } from 'vitest/node'

interface Failure {
  /** Of the test, below its suites and its file. */
  name: string
  error: { message?: string } | undefined
}

/**
 * Ends a run with the line `N passed, N failed, N skipped`. With HOLDFAST_TALLY set, the line goes to that file
 * instead, for `test_scripts/test` to add its own checks; the lines after it name what failed.
 */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly { message?: string }[]) {
    const count = { passed: 0, skipped: 0 }
    const failures: Failure[] = unhandled.map((error) => ({ name: 'outside of the tests', error }))
    for (const module of modules) {
      const file = `${module.project.name} ${module.relativeModuleId}`
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result()
        if (state === 'failed') failures.push({ name: `${file} > ${test.fullName}`, error: errors?.[0] })
        else count[state === 'pending' ? 'skipped' : state] += 1
      }
      // A file that cannot be loaded, or a hook that fails, has no failed test of its own.
      if (!module.ok() && module.errors().length > 0) failures.push({ name: file, error: module.errors()[0] })
      for (const suite of module.children.allSuites()) {
        const [error] = suite.errors()
        if (error) failures.push({ name: `${file} > ${suite.fullName}`, error })
      }
    }
    const line = `${count.passed} passed, ${failures.length} failed, ${count.skipped} skipped\n`
    const file = process.env.HOLDFAST_TALLY
    const named = failures.map((failure) => `${inOneLine(failure)}\n`).join('')
    // At the exit, so that nothing comes after it.
    process.once('exit', () => (file ? writeFileSync(file, line + named) : writeSync(1, line)))
  }
}

function inOneLine({ name, error }: Failure): string {
  return `${name}: ${error?.message ?? 'no error was told'}`.replaceAll(/\s+/g, ' ').slice(0, 500)
}
