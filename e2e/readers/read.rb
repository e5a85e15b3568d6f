# Reads requests of the proxy the way a Ruby back-end does. See read.mjs.
require 'json'

def show(object, key)
  return '-' unless object.key?(key)

  object[key].is_a?(String) ? "=#{object[key].unpack1('H*')}" : '!'
end

$stdin.each_line do |line|
  commands = JSON.parse(line.unpack1('m').force_encoding('UTF-8'))['commands'].select { |c| c['command'] == 'action' }
  puts(commands.map do |c|
    [show(c['action'], 'type'), show(c['action'], 'channel'), show(c['action'], 'id'), show(c['meta'], 'id')].join(' ')
  end.join(';'))
rescue StandardError => e
  puts "failed: #{e.message.tr("\n", ' ')}"
end
