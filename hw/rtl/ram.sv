// A memory with one port to write and one to read; what is read at an address comes a cycle later.
module ram #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 16,
    // "block" or "distributed"; for synthesis only.
    // verilator lint_off UNUSEDPARAM
    parameter     STYLE = "block"
    // verilator lint_on UNUSEDPARAM
) (
    input  logic                     clk,
    input  logic                     write,
    input  logic [$clog2(DEPTH)-1:0] write_at,
    input  logic [WIDTH-1:0]         write_data,
    input  logic                     read,
    input  logic [$clog2(DEPTH)-1:0] read_at,
    output logic [WIDTH-1:0]         read_data
);
    (* ram_style = STYLE *) logic [WIDTH-1:0] store[DEPTH];

    always_ff @(posedge clk) begin
        if (write) store[write_at] <= write_data;
        if (read) read_data <= store[read_at];
    end
endmodule
