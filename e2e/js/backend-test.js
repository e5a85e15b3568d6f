// Plays the cases of @logux/backend-test with the proxy under test between its clients and the back-end, in place of @logux/server.
//
//   node backend-test.js ws://127.0.0.1:31337/ http://127.0.0.1:3000/logux secret

import WebSocket from 'ws'

const home = new URL('node_modules/@logux/backend-test/', import.meta.url)
const { tests } = await import(new URL('tests/index.js', home))
const { TestServer } = await import(new URL('node_modules/@logux/server/index.js', home))

const [proxy, backend, controlSecret] = process.argv.slice(2)

// The cases compare actions as text. Those that the server itself makes have their keys in another order than the reference's, which means the same.
function likeReference(action) {
  return action?.type === 'logux/processed' ? { id: action.id, type: action.type } : action
}

// The cases expect that everybody has an action when its author hears that it is processed, as it is inside of one program. Over sockets that is so when
// the others have answered twice to a ping that was sent after the author heard.
const sockets = new Set()

async function othersAreServed(author) {
  for (let round = 0; round < 2; round++) {
    let others = [...sockets].filter(ws => ws !== author && ws.readyState === WebSocket.OPEN)
    await Promise.all(
      others.map(
        ws =>
          new Promise(resolve => {
            ws.once('pong', resolve)
            ws.once('close', resolve)
            ws.ping()
          })
      )
    )
  }
}

// The suite's server, but its clients' connections lead to the proxy, and what went wrong on the back-end is what the proxy tells a developer.
class Proxied extends TestServer {
  addClient(connection) {
    let { cookie } = connection.ws.upgradeReq.headers
    let ws = new WebSocket(proxy, cookie ? { headers: { cookie } } : {})
    let early = []
    connection.on('message', message => {
      let text = JSON.stringify(message)
      if (ws.readyState === WebSocket.OPEN) ws.send(text)
      else early.push(text)
    })
    connection.on('disconnect', () => ws.close())
    ws.on('open', () => early.forEach(text => ws.send(text)))
    let inOrder = Promise.resolve()
    ws.on('message', data => {
      inOrder = inOrder.then(async () => {
        let message = JSON.parse(data)
        if (message[0] === 'sync') {
          message = message.map(likeReference)
          if (message.some(i => i?.type === 'logux/processed')) await othersAreServed(ws)
        }
        if (message[0] === 'debug') this.emitter.emit('error', new Error(message[2]))
        if (connection.connected) connection.send(message)
      })
    })
    sockets.add(ws)
    ws.on('error', () => {}) // a case may leave a connection that is not open yet
    ws.on('close', () => {
      sockets.delete(ws)
      if (connection.connected) connection.disconnect()
    })
    this.unbind.push(() => ws.terminate())
  }
}

for (let [index, { title, test }] of tests.entries()) {
  // This one speaks to the back-end alone and is about the order in which that takes eleven requests at once.
  if (title === 'Protects from brute-force') continue
  let server = new Proxied({ auth: false, controlSecret })
  server.testUsers = { 10: index * 100 } // no client comes twice
  let error
  try {
    await test({ backend, controlSecret, index, server })
  } catch (e) {
    error = e.stack
  }
  process.stdout.write(JSON.stringify({ title, error }) + '\n')
  for (let unbind of server.unbind) unbind()
}
process.exit(0)
