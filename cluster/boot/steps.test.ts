// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { runSteps, type Step, type StepObserver } from './steps.ts';

describe('boot/steps', () => {
  const silent: StepObserver = { started() {}, done() {}, failed() {} };

  it('begins a step as soon as what it needs is done, and no sooner', async () => {
    const events: string[] = [];
    const gate = Promise.withResolvers<void>();
    const step = (id: string, needs: string[], work: () => Promise<void> = async () => {}): Step => ({
      id,
      title: id,
      needs,
      run: async () => {
        events.push(`${id} begins`);
        await work();
        events.push(`${id} ends`);
      },
    });
    await runSteps(
      [
        step('slow', [], () => gate.promise),
        step('quick', []),
        step('after quick', ['quick'], async () => gate.resolve()),
        step('last', ['slow', 'after quick']),
      ],
      silent,
    );
    expect(events.indexOf('after quick begins')).to.be.lessThan(events.indexOf('slow ends'));
    expect(events.slice(-2)).to.deep.equal(['last begins', 'last ends']);
  });

  it('stops at the first failure: tells steps under way, waits for them, begins none', async () => {
    const events: string[] = [];
    const steps: Step[] = [
      {
        id: 'waits',
        title: '',
        needs: [],
        run: (signal) =>
          new Promise((resolve) => {
            signal.addEventListener('abort', () => {
              events.push('told');
              resolve();
            });
          }),
      },
      { id: 'fails', title: '', needs: [], run: () => Promise.reject(new Error('no disk')) },
      { id: 'never', title: '', needs: ['waits'], run: async () => void events.push('never') },
    ];
    const failures: unknown[] = [];
    const error = await runSteps(steps, { ...silent, failed: (_, cause) => failures.push(cause) }).catch(
      (cause: unknown) => cause,
    );
    expect(error).to.be.an('error').with.property('message', 'no disk');
    expect(failures).to.deep.equal([error]);
    expect(events).to.deep.equal(['told']);
  });

  it('refuses a need that does not come before', async () => {
    const error = await runSteps([{ id: 'a', title: '', needs: ['b'], run: async () => {} }], silent).catch(
      (cause: unknown) => cause,
    );
    expect(error).to.be.an('error').with.property('message').that.includes('step a needs b');
  });
});
