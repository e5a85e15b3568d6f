// The counter of the Logux README in plain JavaScript on the real @logux/client.

import { Client } from '@logux/client'

const $ = id => document.getElementById(id)
const pick = list => list[Math.floor(Math.random() * list.length)]

const server = document.documentElement.dataset.server
const me =
  pick(['Amber', 'Coral', 'Indigo', 'Jade', 'Olive', 'Ruby', 'Silver', 'Violet']) +
  ' ' +
  pick(['Badger', 'Finch', 'Fox', 'Heron', 'Lynx', 'Otter', 'Robin', 'Stoat'])

const client = new Client({ server, subprotocol: 1, userId: 'anonymous', token: '' })

let value = null
let waiting = new Map() // own actions without an outcome yet, by ID

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

// The back-end sends INC with the whole value to a new subscriber; everybody else's INC adds one. Our own are counted at once, before any answer.
client.type('INC', (action, meta) => {
  if (typeof action.value === 'number') {
    value = action.value + waiting.size
  } else {
    value += 1
    bump()
    if (!waiting.has(meta.id)) tell(`${action.by} added one`)
  }
  show()
})

client.on('state', showState)

async function add() {
  let id = client.log.generateId()
  waiting.set(id, true)
  let done = client.sync({ type: 'INC', by: me }, { id })
  showState()
  try {
    await done
    tell('You added one')
  } catch (error) {
    value -= 1
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

$('me').textContent = me
$('server').textContent = server

client.start()
client.sync({ type: 'logux/subscribe', channel: 'counter' }).catch(error => tell(error.message))
showState()
