-- What the TPM said of itself in the last evidence that passed: resets, restarts since, milliseconds.
ALTER TABLE device ADD COLUMN tpm_resets BIGINT;
ALTER TABLE device ADD COLUMN tpm_restarts BIGINT;
ALTER TABLE device ADD COLUMN tpm_clock BIGINT;
