# frozen_string_literal: true

# A chat behind the Logux proxy: a Rack application without further gems.
#
#   LOGUX_CONTROL_SECRET=… puma -b tcp://127.0.0.1:3000 config.ru
#
# PROXY is the control API of the proxy (http://127.0.0.1:31337/). In Rails the class can be mounted:
# `mount Chat.new => '/'`.
require 'json'
require 'net/http'
require 'openssl'
require 'securerandom'

# Chat answers POST /logux for the proxy, and POST /announce for a try.
class Chat
  SECRET = ENV.fetch('LOGUX_CONTROL_SECRET')
  PROXY = URI(ENV.fetch('PROXY', 'http://127.0.0.1:31337/'))

  # A real application checks a session or a signed token.
  TOKENS = { '10' => 'token-of-ann', '20' => 'token-of-bob' }.freeze

  # @messages stands for a table of a database with a unique key: meta.id. A command may come twice with the same ID; the
  # second one must change nothing and is answered like the first.
  def initialize
    @messages = {}
    @lock = Mutex.new # each request has a thread
  end

  def call(env)
    return text(404, 'Not found') if env['REQUEST_METHOD'] != 'POST'

    body = JSON.parse(env['rack.input'].read)
    case env['PATH_INFO']
    when '/logux' then logux(body)
    when '/announce' then announce(body)
    else text(404, 'Not found')
    end
  rescue JSON::ParserError
    text(400, 'Wrong body')
  end

  private

  def logux(body)
    return text(400, 'Back-end protocol version is not supported') if body['version'] != 4
    return text(403, 'Wrong secret') unless same?(body['secret'].to_s, SECRET)

    # Rack writes each element when it is there: the proxy does not wait for the end.
    elements = Enumerator.new do |out|
      separator = '['
      answer_all(body['commands']) do |element|
        out << separator + JSON.generate(element)
        separator = ','
      end
      out << (separator == '[' ? '[]' : ']')
    end
    [200, { 'Content-Type' => 'application/json' }, elements]
  end

  def answer_all(commands, &out)
    commands.each do |command|
      answer(command, &out)
    rescue StandardError => e # of this command: the others are answered all the same
      warn e.full_message
      key = command['authId'] ? { authId: command['authId'] } : { id: command['meta']['id'] }
      out.call({ answer: 'error', **key, details: e.message })
    end
  end

  def answer(command, &out)
    return answer_auth(command, &out) if command['command'] == 'auth'

    case command['action']['type']
    when 'logux/subscribe' then answer_subscribe(command['action'], command['meta'], &out)
    when 'chat/send' then answer_send(command['action'], command['meta'], &out)
    else yield({ answer: 'unknownAction', id: command['meta']['id'] })
    end
  end

  def answer_auth(command)
    token = TOKENS[command['userId']]
    name = token && token == command['token'] ? 'authenticated' : 'denied'
    yield({ answer: name, authId: command['authId'], subprotocol: command['subprotocol'] })
  end

  def answer_subscribe(action, meta)
    id = meta['id']
    return yield({ answer: 'unknownChannel', id: id }) unless room?(action['channel'])

    # From here on the client gets what is sent to the channel, so load after it and not before.
    yield({ answer: 'approved', id: id })
    # A client that was away says since when. Clocks differ: rather ten seconds too much.
    since = action['since'] ? action['since']['time'] - 10_000 : 0
    load(action['channel'], since).each do |message_id, m|
      yield({
        answer: 'action', id: id,
        action: { type: 'chat/send', room: m[:room], text: m[:text] },
        meta: { id: message_id, time: m[:time], clients: [client_of(id)] }
      })
    end
    yield({ answer: 'processed', id: id })
  end

  def answer_send(action, meta)
    id, room, text = meta['id'], action['room'], action['text']
    return yield({ answer: 'forbidden', id: id }) unless room?(room) && text.is_a?(String) && !text.empty?

    yield({ answer: 'resend', id: id, channels: [room] })
    yield({ answer: 'approved', id: id }) # now the others see it
    save(room, text, meta)
    yield({ answer: 'processed', id: id })
  end

  # What the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"}
  def announce(body)
    room, said = body.values_at('room', 'text')
    meta = { 'id' => "#{now} app:#{SecureRandom.alphanumeric(8)} 0", 'time' => now }
    save(room, said, meta)
    sent = send_action({ type: 'chat/send', room: room, text: said }, { **meta, channels: [room] })
    sent.is_a?(Net::HTTPSuccess) ? [204, {}, []] : text(502, sent.body)
  end

  # Gives an action of our own to the proxy.
  def send_action(action, meta)
    body = { version: 4, secret: SECRET, commands: [{ command: 'action', action: action, meta: meta }] }
    Net::HTTP.post(PROXY, JSON.generate(body), 'Content-Type' => 'application/json')
  end

  def save(room, text, meta)
    @lock.synchronize { @messages[meta['id']] ||= { room: room, text: text, time: meta['time'], came: now } }
  end

  def load(room, since)
    @lock.synchronize { @messages.select { |_, m| m[:room] == room && m[:came] >= since } }
  end

  def same?(given, wanted)
    OpenSSL.secure_compare(given, wanted)
  end

  def room?(value) = value.is_a?(String) && value.start_with?('chat/')

  def client_of(id) = id.split[1].split(':').first(2).join(':')

  def now = (Time.now.to_f * 1000).to_i

  def text(status, words) = [status, { 'Content-Type' => 'text/plain' }, [words]]
end

run Chat.new
