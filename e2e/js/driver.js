// Runs real @logux/client instances of one version and does what it is told.
//
//   node driver.js 0.23.2
//
// Commands come on stdin, one JSON object a line; answers and events go to stdout the same way. A command has a number `n`, a verb `do` and
// mostly a `client`, the name that `open` gave to one instance. Its answer has the same `n` and either `ok` or `error`. Everything that happens to a
// client by itself is an event: {client, event, …}. The driver judges nothing; the Go tests do.

import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import WebSocket from 'ws'

import { installBrowser } from './browser.js'

const version = process.argv[2]
const home = new URL(`clients/${version}/`, import.meta.url)
const entry = new URL('node_modules/@logux/client/index.js', home)

function print(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

// A browser sends cookies by itself; here `open` says which ones.
let nextHeaders = {}
class BrowserWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { headers: nextHeaders[url] })
  }
}

// In a browser each event is a task of its own: what a listener throws is reported and breaks nothing. In ws it would break the parser off.
for (let event of ['onopen', 'onmessage', 'onerror', 'onclose']) {
  let { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, event)
  Object.defineProperty(BrowserWebSocket.prototype, event, {
    set(listener) {
      set.call(this, listener && (e => {
        try {
          listener(e)
        } catch (error) {
          queueMicrotask(() => { throw error })
        }
      }))
    }
  })
}

installBrowser(BrowserWebSocket)
const { Client, CrossTabClient } = await import(pathToFileURL(entry.pathname).href)

const clients = new Map()

// What an error of a client says about itself: a LoguxError has a type, an undo its action.
function describe(error) {
  return {
    text: error.message,
    type: error.type,
    options: error.options,
    received: error.received,
    action: error.action
  }
}

function watch(name, client) {
  let node = client.node
  let onState = () => print({ client: name, event: 'state', state: node.state })
  node.on('state', onState)
  node.on('connect', () => print({ client: name, event: 'headers', headers: node.remoteHeaders }))
  node.on('error', error => print({ client: name, event: 'error', error: describe(error) }))
  node.on('clientError', error => print({ client: name, event: 'clientError', error: describe(error) }))
  node.on('debug', (type, text) => print({ client: name, event: 'debug', text }))
  client.log.on('add', (action, meta) => {
    print({ client: name, event: 'add', action, id: meta.id, added: meta.added, subprotocol: meta.subprotocol })
  })
  node.connection.on('disconnect', () => print({ client: name, event: 'disconnect' }))
}

// Client#sync came with 0.10. Before, an action was added to the log and its outcome looked for there.
function syncByLog(client, action, meta) {
  let id = meta.id ?? client.log.generateId()
  return new Promise((resolve, reject) => {
    let unbind = client.log.on('add', (other, otherMeta) => {
      if (other.id !== id) return
      unbind()
      if (other.type === 'logux/processed') resolve(otherMeta)
      else reject(Object.assign(new Error('undone'), { action: other }))
    })
    client.log.add(action, { ...meta, id, sync: true })
  })
}

// Connection problems that a client meets while the server is away are thrown where nobody asked for them; they are events too.
process.on('uncaughtException', error => print({ event: 'thrown', error: describe(error) }))
process.on('unhandledRejection', error => print({ event: 'thrown', error: describe(error) }))

const verbs = {
  open({ client: name, crossTab, cookie, headers, options }) {
    if (cookie) nextHeaders[options.server] = { Cookie: cookie }
    let client = new (crossTab ? CrossTabClient : Client)({ minDelay: 100, maxDelay: 400, ...options })
    clients.set(name, client)
    if (headers) client.node.setLocalHeaders(headers)
    watch(name, client)
    client.start()
    return { nodeId: client.nodeId, clientId: client.clientId }
  },

  // Answers with what the promise of sync() becomes.
  async sync({ client: name, action, meta }) {
    let client = clients.get(name)
    try {
      let done = await (client.sync ? client.sync(action, meta ?? {}) : syncByLog(client, action, meta ?? {}))
      return { resolved: done ?? null }
    } catch (error) {
      return { rejected: describe(error) }
    }
  },

  headers({ client: name, headers }) {
    clients.get(name).node.setLocalHeaders(headers)
    return {}
  },

  state({ client: name }) {
    let client = clients.get(name)
    return { connected: client.node.connected, reconnecting: client.node.connection.reconnecting }
  },

  destroy({ client: name }) {
    clients.get(name).destroy()
    clients.delete(name)
    return {}
  }
}

for await (let line of createInterface({ input: process.stdin })) {
  let command = JSON.parse(line)
  Promise.resolve()
    .then(() => verbs[command.do](command))
    .then(
      ok => print({ n: command.n, ok }),
      error => print({ n: command.n, error: error.stack })
    )
}
process.exit(0)
