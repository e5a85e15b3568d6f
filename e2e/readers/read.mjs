// Reads requests of the proxy the way a Node.js back-end does. One request a line on standard input, in base64; for each a line with type, channel and id
// of every action and the id of its meta, in hexadecimal: "-" for none, "!" for what is no string.
import { readFileSync } from 'node:fs'

const show = (object, key) =>
  !Object.hasOwn(object, key) ? '-' : typeof object[key] !== 'string' ? '!' : '=' + Buffer.from(object[key]).toString('hex')

for (const line of readFileSync(0, 'latin1').split('\n').slice(0, -1)) {
  try {
    const { commands } = JSON.parse(Buffer.from(line, 'base64').toString())
    const actions = commands.filter(c => c.command === 'action')
    console.log(actions.map(({ action: a, meta }) => [show(a, 'type'), show(a, 'channel'), show(a, 'id'), show(meta, 'id')].join(' ')).join(';'))
  } catch (e) {
    console.log('failed:', e.message.replaceAll('\n', ' '))
  }
}
