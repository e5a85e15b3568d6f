// Opens the demo page twice, as two people do, and prints what both show.
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
    if (message.type() === 'error') print({ name, error: message.text() })
  })
  await page.goto(url)
  await page.waitForSelector('#state[data-state=synchronized]')
  return page
}

const shows = (page, text) =>
  page.waitForFunction(want => document.querySelector('#counter').textContent === want, text)

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
  if (screenshot) await one.screenshot({ path: screenshot })
} catch (error) {
  print({ error: error.message })
} finally {
  await browser.close()
}
