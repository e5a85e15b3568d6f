<?php
/**
 * A chat behind the Logux proxy, in PHP 8 without packages.
 *
 *   LOGUX_CONTROL_SECRET=… PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:3000 chat.php
 *
 * PROXY is the control API of the proxy (http://127.0.0.1:31337/). MESSAGES is the file of the messages.
 */
declare(strict_types=1);

define('SECRET', getenv('LOGUX_CONTROL_SECRET') ?: throw new RuntimeException('LOGUX_CONTROL_SECRET is not set'));
define('PROXY', getenv('PROXY') ?: 'http://127.0.0.1:31337/');
define('MESSAGES', getenv('MESSAGES') ?: sys_get_temp_dir() . '/logux-chat.jsonl');

// A real application checks a session or a signed token.
const TOKENS = ['10' => 'token-of-ann', '20' => 'token-of-bob'];

// The file stands for a table of a database with a unique key: meta.id. A command may come twice with the same ID; the
// second one must change nothing and is answered like the first.
function save(string $room, string $text, array $meta): void
{
    $file = fopen(MESSAGES, 'c+');
    flock($file, LOCK_EX); // requests run side by side; closing the file unlocks it
    while (($line = fgets($file)) !== false) {
        if (json_decode($line, true)['id'] === $meta['id']) {
            fclose($file);
            return;
        }
    }
    $message = ['id' => $meta['id'], 'time' => $meta['time'], 'came' => now(), 'room' => $room, 'text' => $text];
    fwrite($file, json_encode($message) . "\n");
    fclose($file);
}

function load(string $room, int $since): array
{
    $lines = is_file(MESSAGES) ? file(MESSAGES) : [];
    $all = array_map(fn (string $line) => json_decode($line, true), $lines);
    return array_filter($all, fn (array $m) => $m['room'] === $room && $m['came'] >= $since);
}

function now(): int
{
    return (int) (microtime(true) * 1000);
}

/** "10:Y7bysd" of the ID "1560954012838 10:Y7bysd:O0ETfc 0". */
function clientOf(string $id): string
{
    return implode(':', array_slice(explode(':', explode(' ', $id)[1]), 0, 2));
}

function isRoom(mixed $value): bool
{
    return is_string($value) && str_starts_with($value, 'chat/');
}

/** The answers to one command, each to be written as soon as it is there. */
function answer(array $command): Generator
{
    if ($command['command'] === 'auth') {
        $token = TOKENS[$command['userId'] ?? ''] ?? null;
        $known = $token !== null && hash_equals($token, $command['token'] ?? '');
        yield ['answer' => $known ? 'authenticated' : 'denied', 'authId' => $command['authId'], 'subprotocol' => $command['subprotocol']];
        return;
    }
    ['action' => $action, 'meta' => $meta] = $command;
    $id = $meta['id'];
    if ($action['type'] === 'logux/subscribe') {
        $room = $action['channel'];
        if (!isRoom($room)) {
            yield ['answer' => 'unknownChannel', 'id' => $id];
            return;
        }
        // From here on the client gets what is sent to the channel, so load after it and not before.
        yield ['answer' => 'approved', 'id' => $id];
        // A client that was away says since when. Clocks differ: rather ten seconds too much.
        $since = isset($action['since']) ? (int) $action['since']['time'] - 10_000 : 0;
        foreach (load($room, $since) as $m) {
            yield [
                'answer' => 'action', 'id' => $id,
                'action' => ['type' => 'chat/send', 'room' => $room, 'text' => $m['text']],
                'meta' => ['id' => $m['id'], 'time' => $m['time'], 'clients' => [clientOf($id)]],
            ];
        }
        yield ['answer' => 'processed', 'id' => $id];
    } elseif ($action['type'] === 'chat/send') {
        $room = $action['room'] ?? null;
        $text = $action['text'] ?? null;
        if (!isRoom($room) || !is_string($text) || $text === '') {
            yield ['answer' => 'forbidden', 'id' => $id];
            return;
        }
        yield ['answer' => 'resend', 'id' => $id, 'channels' => [$room]];
        yield ['answer' => 'approved', 'id' => $id]; // now the others see it
        save($room, $text, $meta);
        yield ['answer' => 'processed', 'id' => $id];
    } else {
        yield ['answer' => 'unknownAction', 'id' => $id];
    }
}

function answerAll(array $commands): Generator
{
    foreach ($commands as $command) {
        try {
            yield from answer($command);
        } catch (Throwable $e) { // of this command: the others are answered all the same
            error_log((string) $e);
            $key = isset($command['authId']) ? ['authId' => $command['authId']] : ['id' => $command['meta']['id']];
            yield ['answer' => 'error', ...$key, 'details' => $e->getMessage()];
        }
    }
}

/** Writes at once: the proxy does not wait for the end. */
function out(string $text): void
{
    echo $text;
    flush();
}

function logux(array $body): void
{
    if (($body['version'] ?? null) !== 4) {
        finish(400, 'Back-end protocol version is not supported');
        return;
    }
    if (!hash_equals(SECRET, (string) ($body['secret'] ?? ''))) {
        finish(403, 'Wrong secret');
        return;
    }
    header('Content-Type: application/json');
    while (ob_get_level() > 0) {
        ob_end_flush(); // php.ini may ask PHP to collect output
    }
    $separator = '[';
    foreach (answerAll($body['commands']) as $element) {
        out($separator . json_encode($element, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR));
        $separator = ',';
    }
    out($separator === '[' ? '[]' : ']');
}

/** What the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"} */
function announce(array $body): void
{
    ['room' => $room, 'text' => $text] = $body;
    $meta = ['id' => now() . ' app:' . bin2hex(random_bytes(4)) . ' 0', 'time' => now()];
    save($room, $text, $meta);
    $sent = send(['type' => 'chat/send', 'room' => $room, 'text' => $text], [...$meta, 'channels' => [$room]]);
    finish($sent ? 204 : 502, '');
}

/** Gives an action of our own to the proxy. */
function send(array $action, array $meta): bool
{
    $commands = [['command' => 'action', 'action' => $action, 'meta' => $meta]];
    return @file_get_contents(PROXY, false, stream_context_create(['http' => [
        'method' => 'POST', 'header' => 'Content-Type: application/json', 'timeout' => 10,
        'content' => json_encode(['version' => 4, 'secret' => SECRET, 'commands' => $commands], JSON_THROW_ON_ERROR),
    ]])) !== false; // false also for a status that is not 200
}

function finish(int $status, string $text): void
{
    http_response_code($status);
    header('Content-Type: text/plain');
    echo $text;
}

$body = json_decode(file_get_contents('php://input'), true);
match (true) {
    !is_array($body) => finish(400, 'Wrong body'),
    $_SERVER['REQUEST_URI'] === '/logux' => logux($body),
    $_SERVER['REQUEST_URI'] === '/announce' => announce($body),
    default => finish(404, 'Not found'),
};
