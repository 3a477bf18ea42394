// The weights of one lane: for each block COLUMNS int4, written two columns at once, which is a byte.
module weight_memory #(
    parameter int COLUMNS = 16,
    parameter int DEPTH   = 1024
) (
    input  logic                     clk,
    input  logic [COLUMNS/2-1:0]     write,
    input  logic [$clog2(DEPTH)-1:0] write_at,
    input  logic [7:0]               write_data,
    input  logic [$clog2(DEPTH)-1:0] read_at,
    output logic [4*COLUMNS-1:0]     read_data
);
    (* ram_style = "block" *) logic [4*COLUMNS-1:0] store[DEPTH];

    always_ff @(posedge clk) begin
        for (int pair = 0; pair < COLUMNS / 2; pair++) begin
            if (write[pair]) store[write_at][8*pair +: 8] <= write_data;
        end
        read_data <= store[read_at];
    end
endmodule
