// The counter of the Logux README in plain JavaScript on the real @logux/client.

import { Client } from '@logux/client'

const $ = id => document.getElementById(id)
const pick = list => list[Math.floor(Math.random() * list.length)]

const servers = document.documentElement.dataset.nodes.split(' ')
let node = Number(document.documentElement.dataset.node)
const me =
  pick(['Amber', 'Coral', 'Indigo', 'Jade', 'Olive', 'Ruby', 'Silver', 'Violet']) +
  ' ' +
  pick(['Badger', 'Finch', 'Fox', 'Heron', 'Lynx', 'Otter', 'Robin', 'Stoat'])

const client = new Client({ server: servers[node], subprotocol: 1, userId: 'anonymous', token: '', minDelay: 300 })

let value = null
let waiting = new Set() // IDs of own actions without an outcome yet
let counted = new Set() // IDs of actions that are in value

function show() {
  $('counter').textContent = value === null ? '–' : value
  $('counter').classList.toggle('loading', value === null)
}

function bump() {
  $('counter').classList.remove('bump')
  void $('counter').offsetWidth // starts the animation again
  $('counter').classList.add('bump')
}

function tell(text) {
  let item = document.createElement('li')
  let what = document.createElement('span')
  let when = document.createElement('time')
  what.textContent = text
  when.textContent = new Date().toLocaleTimeString()
  item.append(what, when)
  $('news').querySelector('.hint')?.remove()
  $('news').prepend(item)
  while ($('news').children.length > 4) $('news').lastChild.remove()
}

const STATES = {
  disconnected: 'Offline',
  connecting: 'Connecting',
  sending: 'Sending',
  synchronized: 'In sync'
}

function showState() {
  let text = STATES[client.state]
  if (client.state === 'disconnected' && waiting.size > 0) text += `, ${waiting.size} to send`
  $('state').dataset.state = client.state
  $('state').lastChild.textContent = text
  $('line').textContent = client.connected ? 'Go offline' : 'Go online'
}

// The back-end sends INC with the whole value to a new subscriber, and which actions are in it; everybody else's INC adds one. Our own are counted at
// once, before any answer. What came since this connection began may be in the value or not, so actions are told apart by ID.
client.type('INC', (action, meta) => {
  if (typeof action.value === 'number') {
    let known = new Set(action.counted)
    let missing = [...counted, ...waiting].filter(id => !known.has(id))
    value = action.value + new Set(missing).size
    counted = new Set([...known, ...missing])
  } else if (!counted.has(meta.id)) {
    counted.add(meta.id)
    value += 1
    bump()
    if (!waiting.has(meta.id)) tell(`${action.by} added one`)
  }
  show()
})

client.on('state', () => {
  if (client.state === 'disconnected') counted.clear() // the next subscription brings the whole value
  showState()
})

// In front of real servers a load balancer leads clients to one that is there. Here the page tries one after another.
client.node.connection.on('disconnect', () => {
  let connection = client.node.connection
  if (!connection.reconnecting) return
  node = (node + 1) % servers.length
  connection.connection.url = servers[node]
  showNode()
})

async function add() {
  let id = client.log.generateId()
  waiting.add(id)
  let done = client.sync({ type: 'INC', by: me }, { id })
  showState()
  try {
    await done
    tell('You added one')
  } catch (error) {
    if (counted.delete(id)) value -= 1
    show()
    tell(`Undone: ${error.action?.reason ?? error.message}`)
  } finally {
    waiting.delete(id)
    showState()
  }
}

$('add').addEventListener('click', add)
$('line').addEventListener('click', () => {
  if (client.connected) client.node.connection.disconnect()
  else client.node.connection.connect()
})

// The nodes and their Redis, with buttons to kill and start them. A single node has no such list.
let parts = []

function showNode() {
  $('server').textContent = servers[node]
  $('node').textContent = `node-${node + 1}`
  showParts()
}

function showParts() {
  for (let part of parts) {
    let row = $('parts').querySelector(`[data-name=${part.name}]`) ?? addPart(part.name)
    row.dataset.state = part.pid ? part.bus || 'ok' : 'gone'
    row.querySelector('span').textContent = describe(part)
    row.querySelector('button').textContent = part.pid ? 'Kill' : 'Start'
  }
}

function describe(part) {
  if (part.name === 'redis') return part.pid ? 'between the nodes' : 'killed: nodes talk directly'
  if (!part.pid) return 'killed'
  let text = part.windows === 1 ? '1 window' : `${part.windows ?? 0} windows`
  if (part.name === `node-${node + 1}` && client.connected) text += ', this one too'
  return text
}

function addPart(name) {
  let row = document.createElement('li')
  let label = document.createElement('b')
  let button = document.createElement('button')
  row.dataset.name = name
  label.textContent = name
  button.type = 'button'
  button.className = 'quiet'
  button.addEventListener('click', async () => {
    let what = parts.find(part => part.name === name).pid ? 'kill' : 'start'
    button.disabled = true
    await fetch(`/${name}/${what}`, { method: 'POST' }).catch(() => {})
    await look()
    button.disabled = false
  })
  row.append(document.createElement('i'), label, document.createElement('span'), button)
  $('parts').append(row)
  return row
}

async function look() {
  try {
    parts = await (await fetch('/state')).json()
    showParts()
  } catch {} // the demo has ended
}

if (servers.length > 1) {
  $('cluster').hidden = false
  setInterval(look, 1000)
  look()
}

$('me').textContent = me
showNode()

client.start()
client.sync({ type: 'logux/subscribe', channel: 'counter' }).catch(error => tell(error.message))
showState()
