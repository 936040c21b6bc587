/** A real browser for tests, without a window: the Chromium of this system, found by its usual names or named by CHROMIUM. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const path = process.env['CHROMIUM'] ?? found()

/** Why there is none; undefined where there is one. */
export const whyNone = path === undefined ? 'no Chromium is found in PATH, and CHROMIUM names none' : undefined

export function launch(): Promise<Browser> {
  if (path === undefined) throw new Error(whyNone)
  // Chromium has no sandbox for root.
  return chromium.launch({ executablePath: path, chromiumSandbox: process.getuid?.() !== 0 })
}

function found(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
