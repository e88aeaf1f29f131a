// SPDX-License-Identifier: Apache-2.0
/** Writes every report of a run. A report that cannot be written, or whose reporter fails, is named and does not keep the others from being written. */
import { join } from 'node:path';
import { githubReporter } from '../../reporters/github/github.ts';
import { htmlReporter } from '../../reporters/html/html.ts';
import { jsonReporter } from '../../reporters/json/json.ts';
import { junitReporter } from '../../reporters/junit/junit.ts';
import { openMetricsReporter } from '../../reporters/openmetrics/openmetrics.ts';
import type { Reporter, ReportInput } from '../../reporters/report.ts';
import { tarballEntries, tarballName } from '../../reporters/sonobuoy/sonobuoy.ts';
import { writeTarball } from '../../reporters/sonobuoy/tarball.ts';
import { messageOf, Problem } from '../problem.ts';
import { writeProblem } from '../results/recorder.ts';
import { writeFileSafely } from '../results/write-file.ts';

const reporters: Readonly<Record<string, Reporter>> = {
  JUnit: junitReporter,
  JSON: jsonReporter,
  HTML: htmlReporter,
  OpenMetrics: openMetricsReporter,
  'GitHub summary': githubReporter,
};

export interface WrittenReports {
  /** Absolute paths, the tarball last. */
  readonly paths: readonly string[];
  readonly problems: readonly Problem[];
}

export async function writeReports(directory: string, input: ReportInput): Promise<WrittenReports> {
  const paths: string[] = [];
  const problems: Problem[] = [];
  for (const [name, reporter] of Object.entries(reporters)) {
    try {
      for (const file of reporter(input)) {
        const path = join(directory, file.path);
        try {
          writeFileSafely(path, file.content);
          paths.push(path);
        } catch (error) {
          problems.push(writeProblem(path, error));
        }
      }
    } catch (error) {
      problems.push(
        new Problem(
          `the ${name} reporter failed: ${messageOf(error)}`,
          'This is a fault of plumb; the other reports are whole.',
          { cause: error },
        ),
      );
    }
  }
  const tarball = join(directory, tarballName(input));
  try {
    await writeTarball(tarball, tarballEntries(input), new Date(input.record.run?.time ?? 0));
    paths.push(tarball);
  } catch (error) {
    problems.push(writeProblem(tarball, error));
  }
  return { paths, problems };
}
