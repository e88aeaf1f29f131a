// SPDX-License-Identifier: Apache-2.0
/** The agent as a client: single attempts over TCP, UDP and HTTP, each ending in exactly one outcome, and batches of them. */
import { createSocket } from 'node:dgram';
import { lookup, Resolver } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import type { Attempt, AttemptOutcome, AttemptResult, ServerIdentity } from './protocol.ts';

/** UDP may lose a datagram without anybody being at fault, so it is sent this often within the time-out. */
const udpSends = 3;

type Ending = Omit<AttemptResult, 'nonce' | 'latencyMs' | 'address'>;

/** Runs all attempts, at most `concurrency` at once; results in the order of the attempts. Never rejects. */
export async function runAttempts(attempts: readonly Attempt[], concurrency: number): Promise<AttemptResult[]> {
  const results: AttemptResult[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < attempts.length; index = next++) {
      const attempt = attempts[index];
      if (attempt !== undefined) results[index] = await runAttempt(attempt);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, concurrency) }, worker));
  return results;
}

export async function runAttempt(attempt: Attempt): Promise<AttemptResult> {
  const began = performance.now();
  const deadline = AbortSignal.timeout(attempt.timeoutMs);
  const finish = (ending: Ending, address?: string): AttemptResult => ({
    nonce: attempt.nonce,
    latencyMs: Math.round((performance.now() - began) * 100) / 100,
    ...(address === undefined ? {} : { address }),
    ...ending,
  });
  let address: string;
  try {
    address = await resolveHost(attempt, deadline);
  } catch (error) {
    return finish({ outcome: 'name-error', error: describe(error) });
  }
  const ending = attempt.protocol === 'udp' ? udp(attempt, address) : stream(attempt, address, deadline);
  return finish(await ending, address);
}

async function resolveHost({ host, family, timeoutMs }: Attempt, deadline: AbortSignal): Promise<string> {
  if (isIP(host) !== 0) return host;
  if (family !== undefined) {
    // getaddrinfo would hold one of few threads for seconds where DNS does not answer.
    const resolver = new Resolver({ timeout: Math.max(100, Math.floor(timeoutMs / 2)), tries: 2 });
    deadline.addEventListener('abort', () => resolver.cancel(), { once: true });
    const [address] = await (family === 4 ? resolver.resolve4(host) : resolver.resolve6(host));
    if (address === undefined) throw new Error(`${host} has no IPv${family} address`);
    return address;
  }
  const expired = new Promise<never>((_resolve, reject) => {
    deadline.addEventListener('abort', () => reject(new Error('name resolution took longer than the time-out')));
  });
  return (await Promise.race([lookup(host), expired])).address;
}

function stream(attempt: Attempt, address: string, deadline: AbortSignal): Promise<Ending> {
  return new Promise((resolve) => {
    let text = '';
    let connected = false;
    let localPort: number | undefined;
    const socket = connect({
      host: address,
      port: attempt.port,
      allowHalfOpen: true,
      ...(attempt.localPort === undefined ? {} : { localPort: attempt.localPort }),
    });
    const finish = (ending: Ending): void => {
      deadline.removeEventListener('abort', onDeadline);
      socket.destroy();
      resolve(localPort === undefined ? ending : { ...ending, localPort });
    };
    const onDeadline = (): void =>
      finish({ outcome: 'dropped', error: connected ? 'connected, but no answer came' : 'no answer to the SYN' });
    deadline.addEventListener('abort', onDeadline);
    socket.on('error', (error) => finish({ outcome: outcomeOf(error), error: describe(error) }));
    socket.on('connect', () => {
      connected = true;
      localPort = socket.localPort;
      socket.write(requestText(attempt));
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (attempt.protocol === 'tcp' && text.includes('\n')) finish(tcpEnding(attempt, text));
    });
    socket.on('end', () => {
      if (attempt.protocol === 'http') finish(httpEnding(text));
      else finish(tcpEnding(attempt, text));
    });
  });
}

function requestText({ protocol, nonce, path, host, hostHeader, port, payloadBytes = 0 }: Attempt): string {
  const padding = 'x'.repeat(payloadBytes);
  if (protocol === 'tcp') return `${nonce} ${padding}\n`;
  const target = path ?? '/';
  const separator = target.includes('?') ? '&' : '?';
  const name = hostHeader ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
  const lines = [`GET ${target}${separator}nonce=${nonce} HTTP/1.1`, `Host: ${name}`, 'Connection: close'];
  if (padding !== '') lines.push(`X-Padding: ${padding}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function tcpEnding(attempt: Attempt, text: string): Ending {
  const [nonce, ...rest] = text.trimEnd().split(' ');
  const server = decodeIdentity(rest.join(' '));
  if (nonce === attempt.nonce && server !== undefined) return { outcome: 'allowed', server };
  // Something else than an agent answered, or hung up: the path is open all the same if it said anything.
  return text === '' ? { outcome: 'reset', error: 'the server closed without an answer' } : { outcome: 'allowed' };
}

function httpEnding(text: string): Ending {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1]);
  if (!Number.isInteger(status)) {
    return text === ''
      ? { outcome: 'reset', error: 'the server closed without an answer' }
      : { outcome: 'allowed', error: `not an HTTP answer: ${text.slice(0, 40)}` };
  }
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  const server = decodeIdentity(body);
  return {
    outcome: 'allowed',
    http: { status, body: body.slice(0, 65_536) },
    ...(server === undefined ? {} : { server }),
  };
}

function udp(attempt: Attempt, address: string): Promise<Ending> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
    const timers: NodeJS.Timeout[] = [];
    const finish = (ending: Ending): void => {
      for (const timer of timers) clearTimeout(timer);
      socket.close();
      resolve(ending);
    };
    socket.once('error', (error) => finish({ outcome: outcomeOf(error), error: describe(error) }));
    if (attempt.localPort !== undefined) socket.bind(attempt.localPort);
    // A connected socket is told of ICMP errors.
    socket.connect(attempt.port, address, () => {
      const { port } = socket.address();
      const payload = Buffer.from(`${attempt.nonce} ${'x'.repeat(attempt.payloadBytes ?? 0)}\n`);
      const send = (): void =>
        socket.send(payload, (error) => {
          if (error !== null) socket.emit('error', error);
        });
      socket.on('message', (message) => {
        const [nonce, ...rest] = message.toString('latin1').split(' ');
        const server = decodeIdentity(rest.join(' '));
        if (nonce === attempt.nonce && server !== undefined) finish({ outcome: 'allowed', server, localPort: port });
        else finish({ outcome: 'allowed', localPort: port });
      });
      send();
      for (let turn = 1; turn < udpSends; turn++) {
        timers.push(setTimeout(send, (attempt.timeoutMs * turn) / udpSends));
      }
      timers.push(
        setTimeout(() => finish({ outcome: 'dropped', error: 'no answer', localPort: port }), attempt.timeoutMs),
      );
    });
  });
}

function outcomeOf(error: Error): AttemptOutcome {
  switch ('code' in error ? error.code : undefined) {
    case 'ECONNREFUSED':
      return 'refused';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'reset';
    case 'ETIMEDOUT':
      return 'dropped';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EACCES':
    case 'EPERM':
    case 'EMSGSIZE':
    case 'ENOPROTOOPT':
      return 'rejected';
    default:
      return 'prober-broken';
  }
}

function decodeIdentity(text: string): ServerIdentity | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { hostname, clientAddress, clientPort } = value as Partial<ServerIdentity>;
  if (typeof hostname !== 'string' || typeof clientAddress !== 'string' || typeof clientPort !== 'number') {
    return undefined;
  }
  return { hostname, clientAddress, clientPort };
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? String(error.code) : '';
  return code !== '' && !error.message.includes(code) ? `${code}: ${error.message}` : error.message;
}
