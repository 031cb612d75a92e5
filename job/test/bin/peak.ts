/** Loaded into a job by --import: writes the most memory that the process ever had, in MiB, to the file $PEAK as it ends. */
import { writeFileSync } from 'node:fs'

process.on('exit', () => {
  if (process.env.PEAK) writeFileSync(process.env.PEAK, String(Math.round(process.resourceUsage().maxRSS / 1024)))
})
