// Opens the demo page twice, as two people do, and prints what both show. Where there are several nodes it kills some of what runs and looks on.
//
//   node count-together.js http://127.0.0.1:31380/ [screenshot.png]

import { launch, print } from './chromium.js'

const [url, screenshot] = process.argv.slice(2)
const browser = await launch()

async function open(name) {
  let context = await browser.newContext({ viewport: { width: 640, height: 720 } })
  let page = await context.newPage()
  page.on('pageerror', error => print({ name, error: error.message }))
  page.on('console', message => {
    // A browser reports each connection that is refused, and there are some to a node that was killed.
    if (message.type() === 'error' && !message.text().startsWith('WebSocket connection to')) print({ name, error: message.text() })
  })
  await page.goto(url)
  await page.waitForSelector('#state[data-state=synchronized]')
  return page
}

const shows = (page, text) =>
  page.waitForFunction(want => document.querySelector('#counter').textContent === want, text)

// press presses the button of a node or of Redis and waits until that is done.
async function press(page, name, text) {
  let row = `#parts [data-name=${name}]`
  await page.click(`${row} button:text-is("${text}")`)
  await page.waitForSelector(`${row} button:text-is("${text === 'Kill' ? 'Start' : 'Kill'}"):enabled`)
}

try {
  let [one, two] = [await open('one'), await open('two')]
  await Promise.all([shows(one, '0'), shows(two, '0')])
  for (let i = 0; i < 3; i++) await one.click('#add')
  await Promise.all([shows(one, '3'), shows(two, '3')])
  await two.click('#add')
  await Promise.all([shows(one, '4'), shows(two, '4')])
  print({ step: 'together', one: await one.textContent('#counter'), two: await two.textContent('#counter') })

  // What is done offline is shown at once and counts when the line is back.
  await two.click('#line')
  await two.waitForSelector('#state[data-state=disconnected]')
  await two.click('#add')
  await one.click('#add')
  print({ step: 'offline', one: await one.textContent('#counter'), two: await two.textContent('#counter') })
  await two.click('#line')
  await Promise.all([shows(one, '6'), shows(two, '6')])
  await two.waitForSelector('#state[data-state=synchronized]')
  print({ step: 'back', one: await one.textContent('#counter'), two: await two.textContent('#counter') })

  if (await one.isVisible('#cluster')) {
    // The windows are on different nodes. One's is killed, and it goes on at another.
    print({ step: 'nodes', one: await one.textContent('#node'), two: await two.textContent('#node') })
    await press(two, 'node-1', 'Kill')
    await two.click('#add')
    await one.click('#add')
    await Promise.all([shows(one, '8'), shows(two, '8')])
    await one.waitForSelector('#state[data-state=synchronized]')
    print({ step: 'node killed', one: await one.textContent('#counter'), two: await two.textContent('#counter') })
    // Back to different nodes.
    await press(two, 'node-1', 'Start')
    await one.goto(url + '?node=1')
    await one.waitForSelector('#state[data-state=synchronized]')
    await two.goto(url + '?node=3')
    await two.waitForSelector('#state[data-state=synchronized]')
    await press(two, 'redis', 'Kill')
    await two.click('#add')
    await one.click('#add')
    await Promise.all([shows(one, '10'), shows(two, '10')])
    print({ step: 'Redis killed', one: await one.textContent('#counter'), two: await two.textContent('#counter') })
    await two.waitForSelector('#parts [data-name=node-3]:not([data-state=ok])')
    await press(two, 'redis', 'Start')
    await two.waitForSelector('#parts [data-name=node-1][data-state=ok]')
    await two.waitForSelector('#parts [data-name=node-3][data-state=ok]')
    await two.click('#add')
    await one.click('#add')
    await Promise.all([shows(one, '12'), shows(two, '12')])
    print({ step: 'all back', one: await one.textContent('#counter'), two: await two.textContent('#counter') })
  }
  if (screenshot) await one.screenshot({ path: screenshot })
} catch (error) {
  print({ error: error.message })
} finally {
  await browser.close()
}
