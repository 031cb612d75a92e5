import { found, freePort, listeningProgram } from './programs.ts'
import { type S3Server, serverAt } from './s3.ts'

/** An S3 server that shares nothing with versitygw: moto, as test_scripts/moto finds it. undefined, and a line why, when there is none. */
export async function startMoto(): Promise<S3Server | undefined> {
  const program = await found('moto', 'no moto_server: put one on the PATH (pip install moto[s3,server])')
  if (!program) return undefined
  const port = await freePort()
  const stop = await listeningProgram(program, { args: ['--host', '127.0.0.1', '--port', `${port}`], port })
  return serverAt({
    endpoint: `http://127.0.0.1:${port}`,
    accessKey: 'test',
    secretKey: 'testtesttest',
    dataDir: undefined,
    stop,
  })
}
