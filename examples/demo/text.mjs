// text.mjs: how the narrator speaks. Colours only where a person reads them; and nothing is claimed that was not checked.
import { styleText } from 'node:util'

const isColoured = process.stdout.isTTY === true && process.stdout.hasColors() && !process.env['NO_COLOR']

/** @typedef {Parameters<typeof styleText>[0]} Style */

export const paint = (/** @type {Style} */ style, /** @type {string} */ text) =>
  isColoured ? styleText(style, text) : text

export const say = (text = '') => process.stdout.write(text + '\n')

export function title(/** @type {number} */ number, /** @type {string} */ text) {
  say()
  say(paint('bold', `${number}. ${text}`))
  say()
}

export const note = (/** @type {string} */ text) => say(`  ${text}`)

/**
 * Says what holds.
 * @param {boolean} holds
 * @param {string} text
 * @param {string} found what was found instead, when it does not hold
 * @throws Error then, which ends the demonstration
 */
export function check(holds, text, found) {
  if (!holds) throw new Error(`Not true: "${text}". ${found}`)
  say(`  ${paint('green', '✓')} ${text}`)
}

/**
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {(cell: string) => boolean} stands for the cells that are to catch the eye
 */
export function table(head, rows, stands = () => false) {
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((cells) => (cells[column] ?? '').length)))
  const padded = (/** @type {string[]} */ cells) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0))
  note(paint('dim', padded(head).join('   ').trimEnd()))
  for (const cells of rows) {
    const shown = padded(cells).map((cell) => (stands(cell.trim()) ? paint('yellow', cell) : cell))
    note(shown.join('   ').trimEnd())
  }
  say()
}

/** @returns {string} such as '3 ms' */
export const ms = (/** @type {number} */ value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
