// Stands before an S3 server, passes everything on, and holds the requests that match a pattern until it is opened:
// so a test can stop a run at a known place, instead of hoping to catch it there.
//
//   gate.mjs serve URL              listens on 7070 for requests, on 7071 for these:
//   gate.mjs hold NAME 'PATTERN'    a regular expression over `METHOD /path`; the requests that come from now on wait
//   gate.mjs held NAME              how many of these wait
//   gate.mjs open NAME              they go on, and all later ones pass
//
// Each NAME is a gate of its own: scenarios run beside each other.

import { Agent, createServer, request as send } from 'node:http'

const control = 'http://127.0.0.1:7071/'
const [action, argument = '', pattern] = process.argv.slice(2)
if (action === 'serve') serve(argument)
else if (action === 'hold') await tell('POST', argument, pattern)
else if (action === 'open') await tell('DELETE', argument)
else if (action === 'held') console.log(await tell('GET', argument))
else throw new Error('usage: gate.mjs serve URL | hold NAME PATTERN | held NAME | open NAME')

async function tell(method, name, body) {
  const answer = await fetch(control + name, { method, ...(body === undefined ? {} : { body }) })
  return answer.text()
}

function serve(url) {
  const agent = new Agent({ keepAlive: true })
  const gates = new Map()

  createServer((request, response) => {
    const go = () => pass({ url, agent, request, response })
    const gate = [...gates.values()].find(({ pattern }) => pattern.test(`${request.method} ${request.url}`))
    if (!gate) return go()
    gate.waiting.add(go)
    response.on('close', () => gate.waiting.delete(go))
  }).listen(7070)

  createServer(async (request, response) => {
    const name = request.url
    const waiting = gates.get(name)?.waiting ?? new Set()
    if (request.method === 'POST') gates.set(name, { pattern: new RegExp((await request.toArray()).join('')), waiting })
    if (request.method === 'DELETE') {
      gates.delete(name)
      for (const go of waiting) go()
      waiting.clear()
    }
    response.end(String(waiting.size))
  }).listen(7071, '127.0.0.1')
}

/** The Host header stays, as it is signed. A side that breaks off breaks off the other. */
function pass({ url, agent, request, response }) {
  const { method, headers, url: path } = request
  const onward = send(new URL(path, url), { method, headers, agent }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders)
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  onward.on('error', () => response.destroy())
  response.on('close', () => response.writableFinished || onward.destroy())
  request.pipe(onward)
}
