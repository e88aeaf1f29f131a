// SPDX-License-Identifier: Apache-2.0
// The program that holds a pod's namespaces: a static ELF of a few hundred bytes, assembled here because it needs
// neither a compiler nor a libc. It ignores SIGCHLD (so the kernel reaps orphans when it is PID 1 of a pod), ends at
// SIGTERM and SIGINT, and sleeps.

export type Architecture = 'amd64' | 'arm64';

/** The container world's name of a Node architecture. */
export function architectureOf(nodeArch: string): Architecture {
  if (nodeArch === 'x64') return 'amd64';
  if (nodeArch === 'arm64') return 'arm64';
  throw new Error(`images can be built on x64 and arm64 machines; this one is ${nodeArch}`);
}

const base = 0x40_0000;
const headerSize = 64 + 56;
const [sigint, sigterm, sigchld] = [2, 15, 17] as const;
const ignore = 1n;
const saRestorer = 0x0400_0000n;
const sigactionSize = 32;

export function pauseProgram(architecture: Architecture): Buffer {
  const machine = architecture === 'amd64' ? 0x3e : 0xb7;
  const assemble = architecture === 'amd64' ? amd64Code : arm64Code;
  // Code comes first; its length does not depend on where the data lies.
  const dataAt = base + headerSize + assemble({ ignored: 0, handled: 0 }).code.length;
  const { code, handlerOffset } = assemble({ ignored: dataAt, handled: dataAt + sigactionSize });
  const handler = BigInt(base + headerSize + handlerOffset);
  const data = Buffer.concat([sigaction(ignore, 0n, 0n), sigaction(handler, saRestorer, handler)]);
  return Buffer.concat([header(machine, headerSize + code.length + data.length), code, data]);
}

interface DataAddresses {
  readonly ignored: number;
  readonly handled: number;
}

/** The kernel's struct sigaction on both architectures: handler, flags, restorer, mask. */
function sigaction(handler: bigint, flags: bigint, restorer: bigint): Buffer {
  const bytes = Buffer.alloc(sigactionSize);
  [handler, flags, restorer].forEach((value, index) => bytes.writeBigUInt64LE(value, index * 8));
  return bytes;
}

function amd64Code(data: DataAddresses): { code: Buffer; handlerOffset: number } {
  const loadImmediate = (opcode: number, value: number): number[] => [opcode, ...littleEndian(value)];
  const [eax, esi, edi] = [0xb8, 0xbe, 0xbf] as const;
  const syscall = [0x0f, 0x05];
  const zeroEdx = [0x31, 0xd2];
  const r10 = [0x41, 0xba, ...littleEndian(8)];
  // The image lies below 2^31, so a 32-bit load, which clears the upper half, holds every address.
  const sigactionCall = (signal: number, action: number): number[] => [
    ...loadImmediate(eax, 13),
    ...loadImmediate(edi, signal),
    ...loadImmediate(esi, action),
    ...zeroEdx,
    ...r10,
    ...syscall,
  ];
  const setUp = [
    ...sigactionCall(sigchld, data.ignored),
    ...sigactionCall(sigterm, data.handled),
    ...sigactionCall(sigint, data.handled),
  ];
  const pause = [...loadImmediate(eax, 34), ...syscall];
  const loop = [...pause, 0xeb, 256 - (pause.length + 2)];
  const exit = [...loadImmediate(eax, 60), 0x31, 0xff, ...syscall];
  return { code: Buffer.from([...setUp, ...loop, ...exit]), handlerOffset: setUp.length + loop.length };
}

function arm64Code(data: DataAddresses): { code: Buffer; handlerOffset: number } {
  const move = (register: number, value: number): number => (0xd280_0000 | (value << 5) | register) >>> 0;
  const moveUpper = (register: number, value: number): number => (0xf2a0_0000 | (value << 5) | register) >>> 0;
  const address = (register: number, value: number): number[] => [
    move(register, value & 0xffff),
    moveUpper(register, value >>> 16),
  ];
  const syscall = 0xd400_0001;
  const sigactionCall = (signal: number, action: number): number[] => [
    move(8, 134),
    move(0, signal),
    ...address(1, action),
    move(2, 0),
    move(3, 8),
    syscall,
  ];
  const setUp = [
    ...sigactionCall(sigchld, data.ignored),
    ...sigactionCall(sigterm, data.handled),
    ...sigactionCall(sigint, data.handled),
  ];
  // There is no pause here: ppoll without descriptors and without a time-out is the same.
  const poll = [move(8, 73), move(0, 0), move(1, 0), move(2, 0), move(3, 0), syscall];
  const branchBack = (0x1400_0000 | (-poll.length & 0x3ff_ffff)) >>> 0;
  const exit = [move(8, 93), move(0, 0), syscall];
  const words = [...setUp, ...poll, branchBack, ...exit];
  const code = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => code.writeUInt32LE(word, index * 4));
  return { code, handlerOffset: (setUp.length + poll.length + 1) * 4 };
}

/** ELF64 header and one segment that is read and executed. */
function header(machine: number, size: number): Buffer {
  const bytes = Buffer.alloc(headerSize);
  bytes.write('\x7fELF', 0, 'latin1');
  bytes.set([2, 1, 1], 4);
  bytes.writeUInt16LE(2, 16);
  bytes.writeUInt16LE(machine, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(base + headerSize), 24);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(64, 52);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt16LE(64, 58);
  bytes.writeUInt32LE(1, 64);
  bytes.writeUInt32LE(5, 68);
  bytes.writeBigUInt64LE(BigInt(base), 80);
  bytes.writeBigUInt64LE(BigInt(base), 88);
  bytes.writeBigUInt64LE(BigInt(size), 96);
  bytes.writeBigUInt64LE(BigInt(size), 104);
  bytes.writeBigUInt64LE(0x1000n, 112);
  return bytes;
}

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
}
