// SPDX-License-Identifier: Apache-2.0
/**
 * One page, one file, nothing loaded from anywhere: the summary for who has to decide on top, the failures with their evidence for who has to repair
 * below. Everything from the cluster is escaped by handlebars; the page's policy forbids scripts other than its own.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Handlebars from 'handlebars';
import type { Reporter } from '../report.ts';
import { laneHeight } from './timeline.ts';
import { readableTime, viewModel } from './view-model.ts';

const asset = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

export const htmlReporter: Reporter = (input) => {
  const page = Handlebars.create();
  page.registerHelper('time', (iso: string) => readableTime(iso));
  page.registerHelper('laneMiddle', (y: number) => y + laneHeight / 2);
  page.registerPartial('case', asset('case.hbs'));
  const template = page.compile(asset('report.hbs'));
  const script = asset('report.js');
  const style = asset('report.css');
  const content = template({
    ...viewModel(input),
    style: new Handlebars.SafeString(style),
    script: new Handlebars.SafeString(script),
    scriptHash: createHash('sha256').update(script).digest('base64'),
    barHeight: laneHeight - 4,
  });
  return [{ path: 'report.html', content }];
};
