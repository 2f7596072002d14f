"""What tests share: throwaway servers, child processes and small data builders."""
