<?php
// Reads requests of the proxy the way a PHP back-end does, with objects and with arrays, which must come to the same. See read.mjs.

function show(array $o, string $key): string
{
    if (!array_key_exists($key, $o)) {
        return '-';
    }
    return is_string($o[$key]) ? '=' . bin2hex($o[$key]) : '!';
}

function read(string $body, bool $arrays): string
{
    $request = json_decode($body, $arrays, 512, JSON_THROW_ON_ERROR);
    $lines = [];
    foreach (((array) $request)['commands'] as $command) {
        $c = (array) $command;
        if ($c['command'] !== 'action') {
            continue;
        }
        $action = (array) $c['action'];
        $lines[] = implode(' ', [show($action, 'type'), show($action, 'channel'), show($action, 'id'), show((array) $c['meta'], 'id')]);
    }
    return implode(';', $lines);
}

while (($line = fgets(STDIN)) !== false) {
    try {
        $body = base64_decode($line);
        $read = read($body, true);
        echo read($body, false) === $read ? $read : 'failed: objects and arrays differ', "\n";
    } catch (Throwable $e) {
        echo 'failed: ', str_replace("\n", ' ', $e->getMessage()), "\n";
    }
}
