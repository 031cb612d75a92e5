// Stands before an S3 server, passes everything on, and holds the requests that match a pattern until it is opened:
// so a test can stop a run at a known place, instead of hoping to catch it there.
//
//   gate.mjs serve URL         listens on 7070 for requests, on 7071 for these:
//   gate.mjs hold 'PATTERN'    a regular expression over `METHOD /path`; the requests that come from now on wait
//   gate.mjs held              how many wait
//   gate.mjs open              they go on, and all later ones pass

import { Agent, createServer, request as send } from 'node:http'

const control = 'http://127.0.0.1:7071/'
const [action, argument = ''] = process.argv.slice(2)
if (action === 'serve') serve(argument)
else if (action === 'hold') await tell('POST', argument)
else if (action === 'open') await tell('DELETE')
else if (action === 'held') console.log(await tell('GET'))
else throw new Error('usage: gate.mjs serve URL | hold PATTERN | held | open')

async function tell(method, body) {
  const answer = await fetch(control, { method, ...(body === undefined ? {} : { body }) })
  return answer.text()
}

function serve(url) {
  const agent = new Agent({ keepAlive: true })
  const waiting = new Set()
  let pattern

  createServer((request, response) => {
    const go = () => pass({ url, agent, request, response })
    if (!pattern?.test(`${request.method} ${request.url}`)) return go()
    waiting.add(go)
    response.on('close', () => waiting.delete(go))
  }).listen(7070)

  createServer(async (request, response) => {
    if (request.method === 'POST') pattern = new RegExp((await request.toArray()).join(''))
    if (request.method === 'DELETE') {
      pattern = undefined
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
