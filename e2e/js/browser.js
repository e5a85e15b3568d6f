// The little of a browser that @logux/client touches: a WebSocket, a visible page, a storage.

class Storage {
  #values = new Map()

  getItem(key) {
    return this.#values.has(key) ? this.#values.get(key) : null
  }

  setItem(key, value) {
    this.#values.set(String(key), String(value))
  }

  removeItem(key) {
    this.#values.delete(key)
  }
}

export function installBrowser(WebSocket) {
  let target = new EventTarget()
  let listen = {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    dispatchEvent: target.dispatchEvent.bind(target)
  }
  globalThis.WebSocket = WebSocket
  globalThis.localStorage = new Storage()
  globalThis.document = { hidden: false, ...listen }
  globalThis.window = { ...listen }
  if (!globalThis.navigator?.onLine) {
    Object.defineProperty(globalThis, 'navigator', { value: { onLine: true }, configurable: true })
  }
}
