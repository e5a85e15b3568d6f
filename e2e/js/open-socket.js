// From a page of each given URL, with a cookie for the WebSocket's host, opens the WebSocket and sends connect. Prints what came of it.
//
//   node open-socket.js ws://127.0.0.1:31337/ http://127.0.0.1:8001/ http://evil.localhost:8001/

import { launch, print } from './chromium.js'

const [socket, ...pages] = process.argv.slice(2)
const browser = await launch()

try {
  for (let url of pages) {
    let context = await browser.newContext()
    await context.addCookies([{ name: 'session', value: 'stolen', domain: new URL(socket).hostname, path: '/' }])
    let page = await context.newPage()
    let said = []
    page.on('console', message => said.push(message.text()))
    await page.goto(url)
    let result = await page.evaluate(
      address =>
        new Promise(resolve => {
          let messages = []
          let ws = new WebSocket(address)
          ws.onopen = () => ws.send('["connect",4,"victim:browser:tab",0,{}]')
          ws.onmessage = e => {
            messages.push(JSON.parse(e.data)[0])
            if (messages.includes('connected')) ws.close()
          }
          ws.onclose = e => resolve({ code: e.code, messages })
        }),
      socket
    )
    print({ origin: await page.evaluate(() => location.origin), ...result, said: said.join('\n') })
    await context.close()
  }
} catch (error) {
  print({ error: error.message })
} finally {
  await browser.close()
}
