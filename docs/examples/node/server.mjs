// A chat behind the Logux proxy, in Node.js without packages.
//
//   LOGUX_CONTROL_SECRET=… node server.mjs
//
// It listens on PORT (3000). PROXY is the control API of the proxy (http://127.0.0.1:31337/).
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

let { PROXY = 'http://127.0.0.1:31337/', LOGUX_CONTROL_SECRET: secret, PORT = '3000' } = process.env
if (!secret) throw new Error('LOGUX_CONTROL_SECRET is not set')

// A real application checks a session or a signed token.
let tokens = new Map([['10', 'token-of-ann'], ['20', 'token-of-bob']])

// Stands for a table of a database with a unique key: meta.id. A command may come twice with the same ID; the second one
// must change nothing and is answered like the first.
let messages = new Map()

function save(room, text, meta) {
  if (!messages.has(meta.id)) messages.set(meta.id, { room, text, time: meta.time, came: Date.now() })
}

let clientOf = meta => meta.id.split(' ')[1].split(':').slice(0, 2).join(':')

async function answerAuth(command, answer) {
  let { authId, userId, token, subprotocol } = command
  if (token && tokens.get(userId) === token) {
    answer({ answer: 'authenticated', authId, subprotocol })
  } else {
    answer({ answer: 'denied', authId })
  }
}

async function answerSubscribe({ action, meta }, answer) {
  let { id } = meta
  if (!action.channel.startsWith('chat/')) return answer({ answer: 'unknownChannel', id })
  // From here on the client gets what is sent to the channel, so load after it and not before.
  answer({ answer: 'approved', id })
  // A client that was away says since when. Clocks differ: rather ten seconds too much.
  let since = action.since ? action.since.time - 10_000 : 0
  for (let [messageId, m] of messages) {
    if (m.room !== action.channel || m.came < since) continue
    answer({
      answer: 'action', id,
      action: { type: 'chat/send', room: m.room, text: m.text },
      meta: { id: messageId, time: m.time, clients: [clientOf(meta)] }
    })
  }
  answer({ answer: 'processed', id })
}

async function answerSend({ action, meta }, answer) {
  let { id } = meta
  let { room, text } = action
  if (typeof text !== 'string' || !text || typeof room !== 'string' || !room.startsWith('chat/')) {
    return answer({ answer: 'forbidden', id })
  }
  answer({ answer: 'resend', id, channels: [room] })
  answer({ answer: 'approved', id }) // now the others see it
  save(room, text, meta)
  answer({ answer: 'processed', id })
}

async function handle(command, answer) {
  let type = command.action?.type
  if (command.command === 'auth') return answerAuth(command, answer)
  if (type === 'logux/subscribe') return answerSubscribe(command, answer)
  if (type === 'chat/send') return answerSend(command, answer)
  answer({ answer: 'unknownAction', id: command.meta.id })
}

let hash = text => createHash('sha256').update(String(text)).digest()

async function logux(req, res) {
  let { version, secret: given, commands } = JSON.parse(await read(req))
  if (version !== 4) return end(res, 400, 'Back-end protocol version is not supported')
  if (!timingSafeEqual(hash(given), hash(secret))) return end(res, 403, 'Wrong secret')
  res.setHeader('Content-Type', 'application/json')
  let separator = '['
  let answer = element => {
    res.write(separator + JSON.stringify(element)) // at once: the proxy does not wait for the end
    separator = ','
  }
  // Side by side: the commands of one request belong to different clients, and one must not wait for another.
  await Promise.all(commands.map(async command => {
    try {
      await handle(command, answer)
    } catch (e) {
      console.error(e)
      let { authId, meta } = command
      answer({ answer: 'error', ...(authId ? { authId } : { id: meta.id }), details: e.message })
    }
  }))
  res.end(separator === '[' ? '[]' : ']')
}

// What the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"}
let announcements = 0
async function announce(req, res) {
  let { room, text } = JSON.parse(await read(req))
  let time = Date.now()
  let meta = { id: `${time} app:${process.pid} ${announcements++}`, time }
  save(room, text, meta)
  let action = { type: 'chat/send', room, text }
  let sent = await fetch(PROXY, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      version: 4, secret, commands: [{ command: 'action', action, meta: { ...meta, channels: [room] } }]
    })
  })
  end(res, sent.ok ? 204 : 502, sent.ok ? '' : await sent.text())
}

async function read(req) {
  let body = ''
  for await (let part of req.setEncoding('utf8')) body += part
  return body
}

function end(res, status, text) {
  res.statusCode = status
  res.end(text)
}

let routes = { 'POST /logux': logux, 'POST /announce': announce }
createServer((req, res) => {
  let route = routes[`${req.method} ${req.url}`]
  if (!route) return end(res, 404, 'Not found')
  route(req, res).catch(e => {
    console.error(e)
    if (res.headersSent) res.destroy()
    else end(res, e instanceof SyntaxError ? 400 : 500, 'Error')
  })
}).listen(Number(PORT), '127.0.0.1', () => console.log(`Listening on http://127.0.0.1:${PORT}`))
