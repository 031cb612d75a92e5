import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort, listening, type S3Server, serverAt } from './s3.ts'

/** An S3 server that shares nothing with versitygw: moto, as test_scripts/moto finds it. undefined, and a line why, when there is none. */
export async function startMoto(): Promise<S3Server | undefined> {
  const program = await findMoto()
  if (!program) return undefined
  const port = await freePort()
  const child = spawn(program, ['--host', '127.0.0.1', '--port', `${port}`], { stdio: 'ignore' })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await listening(child, port)
  return serverAt({
    endpoint: `http://127.0.0.1:${port}`,
    accessKey: 'test',
    secretKey: 'testtesttest',
    dataDir: undefined,
    async stop() {
      process.removeListener('exit', kill)
      const ended = child.exitCode === null ? once(child, 'exit') : undefined
      kill()
      await ended
    },
  })
}

async function findMoto(): Promise<string | undefined> {
  const script = fileURLToPath(new URL('../../../test_scripts/moto', import.meta.url))
  try {
    return (await promisify(execFile)(script)).stdout.trim()
  } catch (cause) {
    const reason = 'no moto_server: put one on the PATH (pip install moto[s3,server])'
    if (process.env.CI) throw new Error(reason, { cause })
    console.log(`skipped, ${reason}`)
    return undefined
  }
}
