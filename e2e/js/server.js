// Runs the @logux/server that comes with @logux/backend-test as a proxy in front of a back-end, until its standard input ends.
//
//   node server.js 31337 http://127.0.0.1:3000/logux secret

const home = new URL('node_modules/@logux/backend-test/node_modules/@logux/server/', import.meta.url)
const { Server } = await import(new URL('index.js', home))

const [port, backend, controlSecret] = process.argv.slice(2)
const server = new Server({
  backend,
  controlSecret,
  env: 'production',
  host: '127.0.0.1',
  logger: { debug() {}, info() {}, warn() {}, error: console.error, fatal: console.error },
  port,
  subprotocol: '1.0.0',
  supports: '^1.0.0'
})
await server.listen()
process.stdin.on('end', () => process.exit(0)).resume()
console.log('listening')
