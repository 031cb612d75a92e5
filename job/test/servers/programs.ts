import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** The path of a program that a script of test_scripts finds. undefined, and a line why, when there is none; in CI an error. */
export async function found(script: string, reason: string): Promise<string | undefined> {
  const path = fileURLToPath(new URL(`../../../test_scripts/${script}`, import.meta.url))
  try {
    return (await promisify(execFile)(path)).stdout.trim()
  } catch (cause) {
    if (process.env.CI) throw new Error(reason, { cause })
    console.log(`skipped, ${reason}`)
    return undefined
  }
}

/** Starts a server that listens on a port of loopback; it ends with this process at the latest. Gives what stops it. */
export async function listeningProgram(
  program: string,
  { args, port, env = {} }: { args: string[]; port: number; env?: Record<string, string> },
): Promise<() => Promise<void>> {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await listening(child, port)
  return async () => {
    process.removeListener('exit', kill)
    const ended = child.exitCode === null ? once(child, 'exit') : undefined
    kill()
    await ended
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

async function listening(child: ChildProcess, port: number): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended with ${child.exitCode}`)
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isOpen) return
    await setTimeout(50)
  }
  throw new Error(`${child.spawnfile} does not listen on port ${port}`)
}
